//! What the compiler has made of the kernels, read from the program itself.
//!
//! That the source has no branch on a secret says little: a compiler may make one of a choice
//! between two vectors. So the program is disassembled, and its innermost loops are looked at. What
//! goes from a vector through memory into a branch is not seen here, but by valgrind in the
//! portable instance (`tests/constant_time.rs`).

use std::collections::BTreeMap;
use std::process::Command;
use std::sync::LazyLock;

use mixline::crypto::wipe;

/// What closes a loop that counts.
const COUNTING: &[&str] = &["add", "sub", "cmp", "dec", "inc", "test"];
/// What sets flags by a vector or by a mask.
const DECIDING: &[&str] = &[
    "ptest", "vptest", "vtestps", "vtestpd", "kortestb", "kortestw", "kortestd", "kortestq",
    "ktestb", "ktestw", "ktestd", "ktestq", "comiss", "comisd", "ucomiss", "ucomisd", "vcomiss",
    "vcomisd", "vucomiss", "vucomisd",
];
/// Instructions of IFMA that any multiplication in the field has: a squaring's.
const MULTIPLICATION: usize = 30;
/// Multiplications that a step of the ladder has at least: one less than it has.
const LADDER_STEP: usize = 9;
/// As above, of the comb, whose step is a doubling and an addition.
const COMB_STEP: usize = 14;
/// Stack for what kernels call outside of the modules looked at, such as copies of memory.
const OTHERS_STACK_BYTES: u64 = 4096;

/// One instruction.
#[derive(Clone, Debug)]
struct Instruction {
    address: u64,
    /// Its mnemonic and operands.
    text: String,
}

impl Instruction {
    fn is(&self, mnemonics: &[&str]) -> bool {
        mnemonics.iter().any(|mnemonic| self.mnemonic() == *mnemonic)
    }

    fn mnemonic(&self) -> &str {
        self.text.split_whitespace().next().unwrap_or_default()
    }

    /// All operands but the last, and the last, which is written.
    fn operands(&self) -> (&str, &str) {
        let (_, operands) = self.text.split_once(' ').unwrap_or_default();
        let operands = operands.split('#').next().unwrap_or_default().trim();
        operands.rsplit_once(',').unwrap_or(("", operands))
    }

    fn is_conditional_jump(&self) -> bool {
        self.text.starts_with('j') && !self.is(&["jmp"])
    }

    /// Whether what runs next is another function.
    fn leaves_function(&self) -> bool {
        self.is(&["call", "ret"])
    }

    /// Where a jump or a call goes.
    fn target(&self) -> Option<u64> {
        let goes = self.text.starts_with('j') || self.is(&["call"]);
        hex(self.text.split_whitespace().nth(1).filter(|_| goes)?)
    }

    /// The place in memory that stands at a distance from the instruction.
    fn place(&self) -> Option<u64> {
        let (_, comment) = self.text.split_once("# ")?;
        hex(comment.split_whitespace().next()?)
    }

    /// Whether it multiplies in the field.
    fn is_multiplication(&self) -> bool {
        self.text.starts_with("vpmadd52")
    }

    /// Whether it moves from a vector or a mask to a general register: vmovq, vpextrq, vpmovmskb,
    /// vmovmskpd, kmovq and the like.
    fn leaves_vectors(&self) -> bool {
        let is_vector = |operand: &str| operand.contains("mm") || operand.contains("%k");
        let (from, to) = self.operands();
        is_vector(from) && to.starts_with('%') && !is_vector(to)
    }

    /// Bytes by which it lowers the stack pointer, at most.
    fn stack_bytes(&self) -> u64 {
        let (from, to) = self.operands();
        let bytes = match (self.mnemonic(), to) {
            ("push", _) => Some(8),
            ("sub", "%rsp") => from.strip_prefix("$0x").and_then(hex),
            ("and", "%rsp") => from.strip_prefix("$0x").and_then(hex).map(|mask| !mask),
            // Down to here a loop touches the pages of a large frame.
            ("lea", "%r11") => {
                from.strip_prefix("-0x").and_then(|end| hex(end.strip_suffix("(%rsp)")?))
            }
            _ => None,
        };
        bytes.unwrap_or(0)
    }
}

fn hex(digits: &str) -> Option<u64> {
    u64::from_str_radix(digits, 16).ok()
}

/// A function of the program.
#[derive(Debug)]
struct Function {
    name: String,
    body: Vec<Instruction>,
}

impl Function {
    fn is_kernel(&self) -> bool {
        self.name.contains("mixline::crypto::")
            && self.body.iter().any(|instruction| instruction.text.contains("%zmm"))
    }

    /// Bytes of stack that a call of it takes, without what it calls.
    fn frame_bytes(&self) -> u64 {
        let return_address = 8;
        return_address + self.body.iter().map(Instruction::stack_bytes).sum::<u64>()
    }

    /// The innermost loops: from where a conditional jump goes back to, to that jump.
    fn innermost_loops(&self) -> Vec<&[Instruction]> {
        let begin = |jump: &Instruction| {
            let target = jump.target().filter(|target| *target <= jump.address)?;
            self.body.iter().position(|instruction| instruction.address == target)
        };
        let loops = self.body.iter().enumerate().filter(|(_, one)| one.is_conditional_jump());
        let loops: Vec<_> = loops.filter_map(|(end, jump)| Some((begin(jump)?, end))).collect();
        let innermost = loops.iter().filter(|(begin, end)| {
            !loops.iter().any(|(b, e)| (b, e) != (begin, end) && begin <= b && e <= end)
        });
        innermost.map(|(begin, end)| &self.body[*begin..=*end]).collect()
    }
}

/// The program's cryptography.
struct Program {
    /// The functions of `mixline::crypto` and `mixline::sphinx`, by address.
    functions: BTreeMap<u64, Function>,
    /// What pointers in memory point to, by where they lie.
    pointers: BTreeMap<u64, u64>,
}

static PROGRAM: LazyLock<Program> = LazyLock::new(|| Program {
    functions: functions(&objdump(&[
        "--disassemble",
        "--demangle",
        "--no-show-raw-insn",
        "--section=.text",
    ])),
    pointers: objdump(&["--dynamic-reloc"]).lines().filter_map(pointer).collect(),
});

fn objdump(options: &[&str]) -> String {
    let mut objdump = Command::new("objdump");
    let output = objdump.args(options).arg(env!("CARGO_BIN_EXE_mixline")).output();
    let output = output.expect("objdump is there: it comes with gcc");
    assert!(output.status.success());
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn functions(disassembly: &str) -> BTreeMap<u64, Function> {
    let mut functions = BTreeMap::<u64, Function>::new();
    let mut start = 0;
    for line in disassembly.lines() {
        if let Some(header) = line.strip_suffix(">:") {
            let (address, name) = header.split_once(" <").expect("an address and a name");
            start = hex(address).expect("an address");
            if name.contains("mixline::crypto::") || name.contains("mixline::sphinx::") {
                functions.insert(start, Function { name: name.to_owned(), body: Vec::new() });
            }
        } else if let Some((address, text)) = line.trim_start().split_once(":\t")
            && let Some(address) = hex(address)
            && let Some(function) = functions.get_mut(&start)
        {
            function.body.push(Instruction { address, text: text.trim().to_owned() });
        }
    }
    functions
}

/// A line of the table of relocations: where a pointer lies, and what it points to.
fn pointer(line: &str) -> Option<(u64, u64)> {
    let (place, target) = line.split_once(" R_X86_64_RELATIVE")?;
    Some((hex(place)?, hex(target.trim().strip_prefix("*ABS*+0x")?)?))
}

impl Program {
    fn kernels(&self) -> impl Iterator<Item = &Function> {
        self.functions.values().filter(|function| function.is_kernel())
    }

    fn kernel(&self, name: &str) -> &Function {
        self.kernels().find(|kernel| kernel.name.ends_with(name)).expect(name)
    }

    /// Bytes of stack that a call of the function at `address` takes with all that it calls, and
    /// the way down there; `known` is what has been computed.
    fn depth(&self, address: u64, known: &mut BTreeMap<u64, (u64, String)>) -> (u64, String) {
        if let Some(depth) = known.get(&address) {
            return depth.clone();
        }
        let function = &self.functions[&address];
        let targets = function.body.iter().flat_map(|one| {
            let pointed = one.place().and_then(|place| self.pointers.get(&place).copied());
            [one.target(), pointed]
        });
        // Nothing there is recursive; only the wiper itself takes more than it wipes.
        let callees = targets.flatten().filter(|callee| {
            let named = self.functions.get(callee);
            *callee != address && named.is_some_and(|callee| !callee.name.contains("wipe::stack"))
        });
        let (below, way) =
            callees.map(|callee| self.depth(callee, known)).max().unwrap_or_default();
        let own = function.frame_bytes();
        let depth = (own + below, format!("{}: {own}\n{way}", function.name));
        known.insert(address, depth.clone());
        depth
    }
}

/// Loops of the kernel with at least so many multiplications, none of which may decide anything.
#[track_caller]
fn steps(kernel: &str, multiplications: usize) -> usize {
    let kernel = PROGRAM.kernel(kernel);
    let is_step = |step: &&[Instruction]| {
        let found = step.iter().filter(|one| one.is_multiplication()).count();
        found >= multiplications * MULTIPLICATION
    };
    let steps: Vec<_> = kernel.innermost_loops().into_iter().filter(is_step).collect();
    for step in &steps {
        let jumps: Vec<_> = step.iter().filter(|one| one.is_conditional_jump()).collect();
        assert_eq!(jumps.len(), 1, "a step in {} decides something: {jumps:?}", kernel.name);
        let left = step.iter().find(|one| one.leaves_vectors());
        assert!(left.is_none(), "{}: {left:?}", kernel.name);
        assert!(step.iter().any(|one| one.is(COUNTING)), "the loop counts");
    }
    steps.len()
}

#[test]
fn no_step_of_the_ladder_has_a_conditional_jump_but_the_one_that_closes_the_loop() {
    assert_eq!(steps("x25519::avx512::multiply", LADDER_STEP), 1);
}

#[test]
fn no_step_of_the_comb_has_a_conditional_jump_but_the_one_that_closes_the_loop() {
    assert_eq!(steps("x25519::avx512::multiply_prepared", COMB_STEP), 1);
}

#[test]
fn no_kernel_sets_flags_by_a_vector_or_reads_where_one_says() {
    assert!(PROGRAM.kernels().count() >= 8, "kernels of every primitive");
    for Function { name, body } in PROGRAM.kernels() {
        for one in body {
            let bad = one.text.starts_with("vpgather")
                || one.text.starts_with("vpscatter")
                || one.is(DECIDING);
            assert!(!bad, "{name}: {}", one.text);
        }
    }
}

/// The words of a product that are to be inverted, for example: what inverts is called next.
#[test]
fn nothing_that_leaves_a_vector_meets_a_conditional_jump_before_it_is_given_to_a_function() {
    for Function { name, body } in PROGRAM.kernels() {
        for (index, one) in body.iter().enumerate().filter(|(_, one)| one.leaves_vectors()) {
            let behind = &body[index + 1..];
            let next = behind.iter().find(|one| one.text.starts_with('j') || one.leaves_function());
            let next = next.expect("a function has an end");
            assert!(next.leaves_function(), "{name}: {}, then {}", one.text, next.text);
        }
    }
}

#[test]
fn whatever_the_kernels_and_their_callers_put_on_the_stack_lies_where_it_is_wiped() {
    let mut known = BTreeMap::new();
    let functions = PROGRAM.functions.iter();
    let all = functions.filter(|(_, function)| !function.name.contains("wipe::stack"));
    let depths = all.map(|(address, _)| PROGRAM.depth(*address, &mut known));
    let (deepest, way) = depths.max().expect("there are functions");
    eprintln!("{deepest} bytes:\n{way}");
    assert!(way.contains("avx512"), "kernels have the largest frames: {way}");
    assert!(deepest + OTHERS_STACK_BYTES <= wipe::STACK_BYTES as u64, "{deepest} bytes:\n{way}");
}

//! What the compiler has made of the kernels, read from the program itself.
//!
//! That the source has no branch on a secret says little: a compiler may make one of a choice
//! between two vectors. So the program is disassembled, and its innermost loops are looked at. What
//! goes from a vector through memory into a branch is not seen here, but by valgrind in the
//! portable instance (`tests/constant_time.rs`).

use std::collections::BTreeMap;
use std::process::Command;

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

    /// Where a jump goes.
    fn target(&self) -> Option<u64> {
        u64::from_str_radix(self.text.split_whitespace().nth(1)?, 16).ok()
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
}

/// The functions of `mixline::crypto` that use vectors of 512 bits, by name.
fn kernels() -> BTreeMap<String, Vec<Instruction>> {
    let disassembly = Command::new("objdump")
        .args(["--disassemble", "--demangle", "--no-show-raw-insn", "--section=.text"])
        .arg(env!("CARGO_BIN_EXE_mixline"))
        .output()
        .expect("objdump is there: it comes with gcc");
    assert!(disassembly.status.success());
    let text = String::from_utf8_lossy(&disassembly.stdout);
    let mut functions = BTreeMap::<String, Vec<Instruction>>::new();
    let mut name = String::new();
    for line in text.lines() {
        if let Some(header) = line.strip_suffix(">:") {
            let (address, function) = header.split_once(" <").expect("an address and a name");
            name = format!("{function} at {address}");
        } else if let Some((address, text)) = line.trim_start().split_once(":\t")
            && name.contains("mixline::crypto::")
            && let Ok(address) = u64::from_str_radix(address, 16)
        {
            let instruction = Instruction { address, text: text.trim().to_owned() };
            functions.entry(name.clone()).or_default().push(instruction);
        }
    }
    functions.retain(|_, body| body.iter().any(|instruction| instruction.text.contains("%zmm")));
    functions
}

/// The innermost loops of a function: from where a conditional jump goes back to, to that jump.
fn innermost_loops(body: &[Instruction]) -> Vec<&[Instruction]> {
    let begin = |jump: &Instruction| {
        let target = jump.target().filter(|target| *target <= jump.address)?;
        body.iter().position(|instruction| instruction.address == target)
    };
    let loops = body.iter().enumerate().filter(|(_, one)| one.is_conditional_jump());
    let loops: Vec<_> = loops.filter_map(|(end, jump)| Some((begin(jump)?, end))).collect();
    let innermost = loops.iter().filter(|(begin, end)| {
        !loops.iter().any(|(b, e)| (b, e) != (begin, end) && begin <= b && e <= end)
    });
    innermost.map(|(begin, end)| &body[*begin..=*end]).collect()
}

/// Loops of the kernel with at least so many multiplications, none of which may decide anything.
#[track_caller]
fn steps(kernel: &str, multiplications: usize) -> usize {
    let kernels = kernels();
    let is_kernel =
        |name: &str| name.split(" at ").next().is_some_and(|name| name.ends_with(kernel));
    let (name, body) = kernels.iter().find(|(name, _)| is_kernel(name)).expect(kernel);
    let is_step = |step: &&[Instruction]| {
        let found = step.iter().filter(|one| one.is_multiplication()).count();
        found >= multiplications * MULTIPLICATION
    };
    let steps: Vec<_> = innermost_loops(body).into_iter().filter(is_step).collect();
    for step in &steps {
        let jumps: Vec<_> = step.iter().filter(|one| one.is_conditional_jump()).collect();
        assert_eq!(jumps.len(), 1, "a step in {name} decides something: {jumps:?}");
        let left = step.iter().find(|one| one.leaves_vectors());
        assert!(left.is_none(), "{name}: {left:?}");
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
    let kernels = kernels();
    assert!(kernels.len() >= 8, "kernels of every primitive: {:?}", kernels.keys());
    for (name, body) in &kernels {
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
    for (name, body) in &kernels() {
        for (index, one) in body.iter().enumerate().filter(|(_, one)| one.leaves_vectors()) {
            let behind = &body[index + 1..];
            let next = behind.iter().find(|one| one.text.starts_with('j') || one.leaves_function());
            let next = next.expect("a function has an end");
            assert!(next.leaves_function(), "{name}: {}, then {}", one.text, next.text);
        }
    }
}

/// How far above its stack pointer an instruction reaches.
fn reach(instruction: &Instruction) -> u64 {
    let offset = instruction.text.split("(%rsp").next().and_then(|head| head.rsplit("0x").next());
    let is_positive = instruction.text.contains("(%rsp") && !instruction.text.contains("-0x");
    let offset = offset.filter(|_| is_positive).map(|hex| u64::from_str_radix(hex, 16));
    offset.and_then(Result::ok).unwrap_or(0)
}

#[test]
fn the_frames_of_all_kernels_lie_within_the_stack_that_is_wiped() {
    let kernels = kernels();
    // What prepares tables of points sees no secret, and needs more.
    let secret = kernels.iter().filter(|(name, _)| !name.contains("x25519::avx512::prepare"));
    let frames = secret.map(|(name, body)| (body.iter().map(reach).max(), name));
    let (largest, name) = frames.max().expect("there are kernels");
    let largest = largest.expect("a kernel has instructions");
    eprintln!("{largest} bytes: {name}");
    // The other half is for the facades above them and what they call.
    assert!(largest > 1024 && largest < wipe::STACK_BYTES as u64 / 2, "{largest}: {name}");
}

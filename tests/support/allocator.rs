//! Counts what a thread asks of the heap while it is armed.
//!
//! The test's own `malloc` and its relatives stand before the C library's: Rust's system allocator
//! calls them, and so does C code such as aws-lc, which a `#[global_allocator]` would not see. Each
//! counts and passes the call on to the C library under its other, public name (glibc only).

#![allow(unsafe_code)]

use std::cell::Cell;
use std::ffi::{c_int, c_void};

/// What a thread asked of the heap while it was armed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct HeapCalls {
    /// New memory, and memory that grew or moved.
    pub(crate) allocations: u64,
    /// Memory given back.
    pub(crate) frees: u64,
}

thread_local! {
    // Both are constants and need no destructor: to reach them allocates nothing, at any time.
    static ARMED: Cell<bool> = const { Cell::new(false) };
    static CALLS: Cell<HeapCalls> = const { Cell::new(HeapCalls { allocations: 0, frees: 0 }) };
}

/// Runs `section` and adds what this thread asks of the heap meanwhile to `calls`.
pub(crate) fn count<R>(calls: &mut HeapCalls, section: impl FnOnce() -> R) -> R {
    CALLS.set(*calls);
    ARMED.set(true);
    let result = section();
    ARMED.set(false);
    *calls = CALLS.get();
    result
}

fn allocation() {
    if ARMED.get() {
        let calls = CALLS.get();
        CALLS.set(HeapCalls { allocations: calls.allocations + 1, ..calls });
    }
}

unsafe extern "C" {
    fn __libc_malloc(bytes: usize) -> *mut c_void;
    fn __libc_calloc(count: usize, bytes: usize) -> *mut c_void;
    fn __libc_realloc(memory: *mut c_void, bytes: usize) -> *mut c_void;
    fn __libc_memalign(alignment: usize, bytes: usize) -> *mut c_void;
    fn __libc_free(memory: *mut c_void);
}

/// # Safety
/// As `malloc(3)`.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn malloc(bytes: usize) -> *mut c_void {
    allocation();
    // SAFETY: the C library's own malloc, called as the caller called it.
    unsafe { __libc_malloc(bytes) }
}

/// # Safety
/// As `calloc(3)`.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn calloc(count: usize, bytes: usize) -> *mut c_void {
    allocation();
    // SAFETY: the C library's own calloc, called as the caller called it.
    unsafe { __libc_calloc(count, bytes) }
}

/// # Safety
/// As `realloc(3)`.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn realloc(memory: *mut c_void, bytes: usize) -> *mut c_void {
    allocation();
    // SAFETY: `memory` is null or came from the functions here, that is, from the C library.
    unsafe { __libc_realloc(memory, bytes) }
}

/// # Safety
/// As `aligned_alloc(3)`.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn aligned_alloc(alignment: usize, bytes: usize) -> *mut c_void {
    allocation();
    // SAFETY: the caller keeps the rules of aligned_alloc, which are those of memalign.
    unsafe { __libc_memalign(alignment, bytes) }
}

/// # Safety
/// As `posix_memalign(3)`.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn posix_memalign(
    out: *mut *mut c_void,
    alignment: usize,
    bytes: usize,
) -> c_int {
    allocation();
    // SAFETY: the caller keeps the rules of posix_memalign, which are stricter than memalign's.
    let memory = unsafe { __libc_memalign(alignment, bytes) };
    if memory.is_null() {
        return libc::ENOMEM;
    }
    // SAFETY: the caller gave a place for one pointer.
    unsafe { out.write(memory) };
    0
}

/// # Safety
/// As `free(3)`.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn free(memory: *mut c_void) {
    if ARMED.get() && !memory.is_null() {
        let calls = CALLS.get();
        CALLS.set(HeapCalls { frees: calls.frees + 1, ..calls });
    }
    // SAFETY: `memory` is null or came from the functions here, that is, from the C library.
    unsafe { __libc_free(memory) }
}

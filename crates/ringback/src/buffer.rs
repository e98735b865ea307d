//! Working buffers: lent while octets flow, given back when none are left in them.
//!
//! A session that is idle holds none. Each thread keeps a few for whoever comes next; how many large
//! ones are out at once is bounded, and who comes later works with a small one.

use std::cell::RefCell;
use std::ops::{Deref, DerefMut};
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::limits::{KEPT_BUFFERS, KEPT_FREE_OCTETS, LARGE_BUFFERS, LARGE_OCTETS, SMALL_OCTETS};

/// Large buffers that are lent, in the whole process.
static LENT: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    static KEPT: RefCell<Vec<Box<[u8]>>> = const { RefCell::new(Vec::new()) };
}

/// Has the allocator keep what a burst of records has given back, for the next one. glibc returns free memory to
/// the kernel as soon as there are 128 KiB of it, and faults it in again a moment later, until it has once seen
/// a large block come back: then it keeps up to twice as much as that (mallopt(3), M_MMAP_THRESHOLD).
pub fn keep_freed() {
    drop(std::hint::black_box(vec![0_u8; KEPT_FREE_OCTETS / 2]));
}

/// A buffer that is lent. What others have left in it is still there: only what was written to it
/// may be read.
pub(crate) struct Buffer(Box<[u8]>);

impl Buffer {
    /// Lends a large one if there is one, or else a small one.
    pub(crate) fn lend() -> Self {
        if LARGE_BUFFERS <= LENT.fetch_add(1, Ordering::Relaxed) {
            LENT.fetch_sub(1, Ordering::Relaxed);
            return Self(vec![0; SMALL_OCTETS].into_boxed_slice());
        }
        let kept = KEPT.with_borrow_mut(Vec::pop);
        Self(kept.unwrap_or_else(|| vec![0; LARGE_OCTETS].into_boxed_slice()))
    }

    /// How many large ones are out.
    #[cfg(test)]
    fn lent() -> usize {
        LENT.load(Ordering::Relaxed)
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        if self.0.len() != LARGE_OCTETS {
            return;
        }
        LENT.fetch_sub(1, Ordering::Relaxed);
        let buffer = std::mem::take(&mut self.0);
        // A thread that ends keeps nothing.
        let _ = KEPT.try_with(|kept| {
            let mut kept = kept.borrow_mut();
            if kept.len() < KEPT_BUFFERS {
                kept.push(buffer);
            }
        });
    }
}

impl Deref for Buffer {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.0
    }
}

impl std::fmt::Debug for Buffer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Buffer").field(&self.0.len()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_comes_when_the_large_ones_are_out_works_with_a_small_one() {
        let before = Buffer::lent();
        let large: Vec<Buffer> = (before..LARGE_BUFFERS).map(|_| Buffer::lend()).collect();
        assert!(large.iter().all(|it| it.len() == LARGE_OCTETS));
        assert_eq!(Buffer::lend().len(), SMALL_OCTETS);
        drop(large);
        assert_eq!(Buffer::lend().len(), LARGE_OCTETS);
    }
}

//! The file of one replay window, written in place: a ring waits for one flush, and for no folder.
//!
//! Two slots, each a block of its own, are written in turn; a slot has a number and a checksum. A
//! crash may tear the slot that was being written, and then the other one counts: it is the window
//! as it was before, and the signal that was being remembered has not been dialed for.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use ringback_proto::access_request::Kid;
use ringback_proto::freshness::{Damaged, ReplayWindow};

use crate::keys::sha256;

/// Octets from one slot to the next: no disk and no page cache writes two of them at once.
const BLOCK: usize = 4096;
/// Octets of the number in front of the window.
const NUMBER: usize = 8;
/// Octets of the checksum behind it.
const CHECKSUM: usize = 8;
/// Octets of a slot that say something.
const SLOT: usize = NUMBER + ReplayWindow::OCTETS + CHECKSUM;

/// A whole slot that was read.
#[derive(Debug)]
struct Slot {
    place: usize,
    number: u64,
    window: ReplayWindow,
}

/// The file that a private proxy keeps a key id's replay window in.
pub(crate) fn file(folder: &Path, kid: Kid) -> PathBuf {
    folder.join(format!("{kid}.window"))
}

/// Reads the window; a missing file is an empty one.
pub(crate) fn read(file: &Path) -> io::Result<Result<ReplayWindow, Damaged>> {
    match std::fs::read(file) {
        Ok(octets) => Ok(newest(&octets).map(|it| it.window)),
        Err(fault) if fault.kind() == io::ErrorKind::NotFound => Ok(Ok(ReplayWindow::new())),
        Err(fault) => Err(fault),
    }
}

/// Writes the window over the older slot and flushes it. Two writers of one file must not meet.
pub(crate) fn write(file: &Path, window: &[u8; ReplayWindow::OCTETS]) -> io::Result<()> {
    let slots = match OpenOptions::new().read(true).write(true).open(file) {
        Ok(slots) => slots,
        Err(fault) if fault.kind() == io::ErrorKind::NotFound => return begin(file, window),
        Err(fault) => return Err(fault),
    };
    let mut octets = [0; 2 * BLOCK];
    match fill(&slots, &mut octets) {
        // A file of one slot, or what is left of one, is of another making.
        Ok(length) if length < octets.len() => return begin(file, window),
        Ok(_) => {}
        Err(fault) => return Err(fault),
    }
    let Ok(newest) = newest(&octets) else { return begin(file, window) };
    let number = newest.number.wrapping_add(1);
    slots.write_all_at(&slot(number, window), ((1 - newest.place) * BLOCK) as u64)?;
    slots.sync_data()
}

/// Makes the file whole, with its second slot empty: from then on its length never changes.
fn begin(file: &Path, window: &[u8; ReplayWindow::OCTETS]) -> io::Result<()> {
    let mut octets = slot(1, window).to_vec();
    octets.resize(2 * BLOCK, 0);
    super::replace(file, &octets)
}

fn fill(slots: &File, octets: &mut [u8]) -> io::Result<usize> {
    let mut length = 0;
    while length < octets.len() {
        match slots.read_at(&mut octets[length..], length as u64)? {
            0 => break,
            more => length += more,
        }
    }
    Ok(length)
}

fn slot(number: u64, window: &[u8; ReplayWindow::OCTETS]) -> [u8; SLOT] {
    let mut octets = [0; SLOT];
    let (body, sum) = octets.split_at_mut(SLOT - CHECKSUM);
    body[..NUMBER].copy_from_slice(&number.to_be_bytes());
    body[NUMBER..].copy_from_slice(window);
    sum.copy_from_slice(&checksum(body));
    octets
}

/// The whole slot with the higher number. A file that is one window and nothing else was written
/// by an earlier version, and counts as a first slot.
fn newest(octets: &[u8]) -> Result<Slot, Damaged> {
    if octets.len() == ReplayWindow::OCTETS {
        return Ok(Slot { place: 0, number: 0, window: ReplayWindow::from_octets(octets)? });
    }
    let slots = [0, 1].into_iter().filter_map(|place| whole(octets, place));
    slots.max_by_key(|it| it.number).ok_or(Damaged)
}

fn whole(octets: &[u8], place: usize) -> Option<Slot> {
    let octets = octets.get(place * BLOCK..)?.get(..SLOT)?;
    let (body, sum) = octets.split_at(SLOT - CHECKSUM);
    let (number, window) = body.split_first_chunk::<NUMBER>()?;
    let window = ReplayWindow::from_octets(window).ok()?;
    let number = u64::from_be_bytes(*number);
    (sum == checksum(body)).then_some(Slot { place, number, window })
}

fn checksum(body: &[u8]) -> [u8; CHECKSUM] {
    let digest = sha256(body);
    std::array::from_fn(|at| digest[at])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn window(seen: u32) -> ReplayWindow {
        let mut window = ReplayWindow::new();
        (1..=seen).for_each(|seq| window.record(seq));
        window
    }

    fn written(file: &Path, seen: u32) -> Vec<u8> {
        write(file, &window(seen).to_octets()).unwrap();
        std::fs::read(file).unwrap()
    }

    #[test]
    fn what_was_written_last_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let file = file(folder.path(), Kid(7));
        assert_eq!(read(&file).unwrap(), Ok(ReplayWindow::new()));
        for seen in 1..=9 {
            assert_eq!(written(&file, seen).len(), 2 * BLOCK, "the length never changes");
            assert_eq!(read(&file).unwrap(), Ok(window(seen)));
        }
        let files = std::fs::read_dir(folder.path()).unwrap();
        assert_eq!(files.count(), 1, "nothing is left beside it");
    }

    #[test]
    fn a_write_that_is_torn_at_any_octet_leaves_the_window_before_or_after_it() {
        let folder = tempfile::tempdir().unwrap();
        let file = file(folder.path(), Kid(7));
        written(&file, 300);
        for (seen, place) in [(301, 1), (302, 0), (303, 1)] {
            let before = std::fs::read(&file).unwrap();
            let after = written(&file, seen);
            let (block, mut old, mut new) = (place * BLOCK..(place + 1) * BLOCK, 0, 0);
            for at in block.clone() {
                // Disks promise no order, and may leave zeros.
                for (first, last) in
                    [(&after, &before), (&before, &after), (&after, &vec![0; 2 * BLOCK])]
                {
                    let mut torn = before.clone();
                    torn[block.start..at].copy_from_slice(&first[block.start..at]);
                    torn[at..block.end].copy_from_slice(&last[at..block.end]);
                    match newest(&torn).unwrap().window {
                        it if it == window(seen - 1) => old += 1,
                        it => {
                            assert_eq!(it, window(seen), "torn at {at}");
                            new += 1;
                        }
                    }
                }
            }
            assert!(SLOT < old && SLOT < new, "{old} before, {new} after");
        }
    }

    #[test]
    fn after_a_torn_write_the_whole_slot_is_not_written_over() {
        let folder = tempfile::tempdir().unwrap();
        let file = file(folder.path(), Kid(7));
        let good = written(&file, 10);
        let mut torn = written(&file, 11);
        torn[BLOCK + SLOT - 1] ^= 1;
        std::fs::write(&file, &torn).unwrap();
        assert_eq!(read(&file).unwrap(), Ok(window(10)));
        assert_eq!(written(&file, 12)[..BLOCK], good[..BLOCK]);
        assert_eq!(read(&file).unwrap(), Ok(window(12)));
    }

    #[test]
    fn every_flipped_bit_is_noticed() {
        let folder = tempfile::tempdir().unwrap();
        let file = file(folder.path(), Kid(7));
        written(&file, 10);
        let octets = written(&file, 11);
        for bit in 0..SLOT * 8 {
            let mut flipped = octets.clone();
            flipped[BLOCK + bit / 8] ^= 1 << (bit % 8);
            assert_eq!(newest(&flipped).unwrap().window, window(10), "bit {bit}");
            flipped[0] ^= 1;
            assert!(newest(&flipped).is_err(), "both slots are spoiled");
        }
    }

    #[test]
    fn a_file_of_an_earlier_version_is_read_and_converted() {
        let folder = tempfile::tempdir().unwrap();
        let file = file(folder.path(), Kid(7));
        std::fs::write(&file, window(10).to_octets()).unwrap();
        assert_eq!(read(&file).unwrap(), Ok(window(10)));
        assert_eq!(written(&file, 11).len(), 2 * BLOCK);
        assert_eq!(read(&file).unwrap(), Ok(window(11)));
    }

    #[test]
    fn a_damaged_file_is_told_and_the_next_write_mends_it() {
        let folder = tempfile::tempdir().unwrap();
        let file = file(folder.path(), Kid(7));
        for damaged in [vec![], vec![7; 100], vec![7; SLOT], vec![7; 2 * BLOCK]] {
            std::fs::write(&file, &damaged).unwrap();
            assert_eq!(read(&file).unwrap(), Err(Damaged), "{} octets", damaged.len());
            written(&file, 11);
            assert_eq!(read(&file).unwrap(), Ok(window(11)));
        }
    }

    #[test]
    #[ignore = "measures this machine's disk"]
    fn a_window_in_place_costs_less_than_one_replaced() {
        const TIMES: u32 = 300;
        let folder = tempfile::tempdir_in(".").unwrap();
        let file = file(folder.path(), Kid(7));
        let measured = |act: &dyn Fn()| {
            let mut took: Vec<_> = (0..TIMES)
                .map(|_| {
                    let begun = crate::clock::now();
                    act();
                    crate::clock::now() - begun
                })
                .collect();
            took.sort();
            (took[took.len() / 2], took[took.len() * 99 / 100])
        };
        let octets = window(10).to_octets();
        let replaced = measured(&|| crate::state::replace(&file, &octets).unwrap());
        let in_place = measured(&|| write(&file, &octets).unwrap());
        eprintln!("replaced {replaced:?}, in place {in_place:?} (median, 99 of 100)");
        assert!(in_place.0 < replaced.0);
    }
}

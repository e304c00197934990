//! The memory in which a hash is computed.

#![cfg_attr(
    target_os = "linux",
    allow(unsafe_code, reason = "madvise(2) takes an address")
)]

use argon2::Block;

/// Memory of Argon2id, kept from hash to hash.
///
/// Argon2id reads all over it, so that on pages of 4 KiB a good part of its time goes into looking addresses up: with huge pages,
/// for which Linux is asked, a hash takes 6 to 10 % less.
#[derive(Default)]
pub(super) struct Scratch(Vec<Block>);

impl Scratch {
    /// So many blocks of 1 KiB, with anything in them.
    pub(super) fn blocks(&mut self, count: usize) -> &mut [Block] {
        if self.0.len() < count {
            // What is there is of no use to a hash, and need not be copied.
            self.0 = Vec::with_capacity(count);
            ask_for_huge_pages(&mut self.0);
            self.0.resize(count, Block::default());
        }
        &mut self.0[..count]
    }
}

/// Asks before the pages are touched for the first time. It is a wish: without huge pages everything works.
#[cfg(target_os = "linux")]
fn ask_for_huge_pages(blocks: &mut Vec<Block>) {
    use rustix::mm::{Advice, madvise};

    let page = rustix::param::page_size();
    let room = blocks.spare_capacity_mut();
    let (start, len) = (room.as_mut_ptr().cast::<u8>(), size_of_val(room));
    let before_first_page = start.align_offset(page).min(len);
    let whole_pages = (len - before_first_page) / page * page;
    if whole_pages == 0 {
        return;
    }
    // Safety: the range lies within the vector's allocation, and this advice changes nothing that a program can read.
    let _ = unsafe {
        let first_page = start.add(before_first_page);
        madvise(first_page.cast(), whole_pages, Advice::LinuxHugepage)
    };
}

#[cfg(not(target_os = "linux"))]
fn ask_for_huge_pages(_: &mut Vec<Block>) {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_grows_and_is_kept() {
        let mut scratch = Scratch::default();
        assert_eq!(scratch.blocks(0).len(), 0);
        assert_eq!(scratch.blocks(1).len(), 1);
        let large = scratch.blocks(19 * 1024).as_ptr();
        assert_eq!(scratch.blocks(8).len(), 8);
        assert_eq!(scratch.blocks(19 * 1024).as_ptr(), large);
    }

    /// Where Linux gives huge pages to those who ask, this memory is on them.
    #[cfg(target_os = "linux")]
    #[test]
    fn linux_is_asked_for_huge_pages() {
        let mut scratch = Scratch::default();
        let blocks = scratch.blocks(19 * 1024);
        let middle = std::ptr::from_ref(&blocks[9 * 1024]) as usize;
        let maps = std::fs::read_to_string("/proc/self/smaps").unwrap();
        let mut is_inside = false;
        for line in maps.lines() {
            let range = line.split_once(' ').map_or("", |(range, _)| range);
            if let Some((from, to)) = range.split_once('-') {
                let [from, to] = [from, to].map(|hex| usize::from_str_radix(hex, 16).unwrap());
                is_inside = (from..to).contains(&middle);
            } else if is_inside && line.starts_with("VmFlags:") {
                assert!(line.split_whitespace().any(|flag| flag == "hg"), "{line}");
                return;
            }
        }
        panic!("no memory map holds the blocks");
    }
}

//! The checksum of a data page, and whether a page read from under a running server can be believed.
//!
//! Facts from `src/include/storage/checksum_impl.h` and `verify_page_checksum` of
//! `src/backend/backup/basebackup.c`, the same in 13 to 18: a variant of FNV-1a over 32 lanes of 32 bits.
//! Written over fixed arrays without branches, so that the compiler uses the vector instructions of the machine.

use super::little_endian::{u16_at, u32_at};
use super::lsn::Lsn;

/// Sums that are made side by side.
const LANES: usize = 32;
/// Bytes of one row of all lanes; every block size is a multiple of it.
const ROW_BYTES: usize = LANES * size_of::<u32>();
/// Where `pd_checksum` lies in the page's header.
const CHECKSUM_OFFSET: usize = 8;
const FNV_PRIME: u32 = 16_777_619;
/// What each lane starts from.
const LANE_OFFSETS: [u32; LANES] = [
    0x5B1F_36E9,
    0xB852_5960,
    0x02AB_50AA,
    0x1DE6_6D2A,
    0x79FF_467A,
    0x9BB9_F8A3,
    0x217E_7CD2,
    0x83E1_3D2C,
    0xF8D4_474F,
    0xE39E_B970,
    0x42C6_AE16,
    0x9932_16FA,
    0x7B09_3B5D,
    0x98DA_FF3C,
    0xF718_902A,
    0x0B1C_9CDB,
    0xE58F_764B,
    0x1876_36BC,
    0x5D7B_3BB1,
    0xE73D_E7DE,
    0x92BE_C979,
    0xCCA6_C0B2,
    0x304A_0979,
    0x85AA_43D4,
    0x7831_25BB,
    0x6CA8_EAA2,
    0xE407_EAC6,
    0x4B5C_FC3E,
    0x9FBF_8C76,
    0x15CA_20BE,
    0xF2CA_9FD3,
    0x959B_D756,
];

/// What a page read while the server runs is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PageVerdict {
    /// Its checksum is right.
    Good,
    /// Never written (`PageIsNew`): all zeroes, or at least without contents. It has no checksum.
    New,
    /// Written since the backup began, by its LSN: replay puts it right.
    Changing,
    /// Its checksum is wrong, and by its LSN it was written since the backup began: it may be torn, which replay puts
    /// right, unless no server ever wrote that LSN.
    Torn {
        /// What it has for an LSN.
        lsn: Lsn,
        /// The checksum in the page.
        stored: u16,
        /// The checksum of its content.
        computed: u16,
    },
    /// Its checksum is wrong. Read it once more before this is believed: the server may just have been writing it.
    Bad {
        /// The checksum in the page.
        stored: u16,
        /// The checksum of its content.
        computed: u16,
    },
}

/// The checksum that belongs to a page with this content at this block of its relation (`pg_checksum_page`), counted
/// over all segments. `page` is a whole page; its own checksum field is not looked at.
pub fn page_checksum(page: &[u8], block_number: u32) -> u16 {
    let mut sums = LANE_OFFSETS;
    let (rows, _) = page.as_chunks::<ROW_BYTES>();
    if let Some((first, rest)) = rows.split_first() {
        let mut first = *first;
        if let Some(field) = first.get_mut(CHECKSUM_OFFSET..).and_then(<[u8]>::first_chunk_mut::<2>) {
            *field = [0; 2];
        }
        mix(&mut sums, &first);
        for row in rest {
            mix(&mut sums, row);
        }
    }
    for _ in 0..2 {
        mix(&mut sums, &[0; ROW_BYTES]);
    }
    let folded = sums.iter().fold(block_number, |folded, sum| folded ^ sum);
    u16::try_from(folded % u32::from(u16::MAX)).map_or(u16::MAX, |rest| rest + 1)
}

/// One row into the sums, each lane for itself.
#[inline(always)]
fn mix(sums: &mut [u32; LANES], row: &[u8; ROW_BYTES]) {
    for (sum, value) in sums.iter_mut().zip(row.as_chunks::<4>().0) {
        let mixed = *sum ^ u32::from_le_bytes(*value);
        *sum = mixed.wrapping_mul(FNV_PRIME) ^ (mixed >> 17);
    }
}

/// Judges a page that was read after a backup began at `start_lsn`, by the rules of `BASE_BACKUP`.
pub fn judge_page(page: &[u8], block_number: u32, start_lsn: Lsn) -> PageVerdict {
    let Some(header) = PageHeader::of(page) else { return PageVerdict::New };
    if header.upper == 0 {
        return PageVerdict::New;
    }
    let lsn = Lsn::new(header.lsn).filter(|lsn| *lsn >= start_lsn);
    let (stored, computed) = (header.checksum, page_checksum(page, block_number));
    match lsn {
        Some(_) if computed == stored => PageVerdict::Changing,
        None if computed == stored => PageVerdict::Good,
        Some(lsn) => PageVerdict::Torn { lsn, stored, computed },
        None => PageVerdict::Bad { stored, computed },
    }
}

/// What the verdict needs of `PageHeaderData` (`src/include/storage/bufpage.h`).
struct PageHeader {
    lsn: u64,
    checksum: u16,
    /// Where the free space ends: zero in a page without contents.
    upper: u16,
}

impl PageHeader {
    /// `None` when there are fewer bytes than a header has.
    fn of(page: &[u8]) -> Option<Self> {
        // The LSN's upper half comes first, each half in the machine's order.
        let lsn = (u64::from(u32_at(page, 0)?) << 32) | u64::from(u32_at(page, 4)?);
        Some(Self { lsn, checksum: u16_at(page, CHECKSUM_OFFSET)?, upper: u16_at(page, 14)? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const BLOCK_SIZES: [usize; 6] = [1024, 2048, 4096, 8192, 16_384, 32_768];

    fn lsn(bytes: u64) -> Lsn {
        Lsn::new(bytes).unwrap()
    }

    /// A page with that LSN, contents, and the right checksum.
    fn page(bytes: usize, page_lsn: u64, block_number: u32) -> Vec<u8> {
        let mut page: Vec<u8> = (0..bytes).map(|at| u8::try_from(at * 7 % 251).unwrap()).collect();
        page[..4].copy_from_slice(&u32::try_from(page_lsn >> 32).unwrap().to_le_bytes());
        page[4..8].copy_from_slice(&u32::try_from(page_lsn & 0xFFFF_FFFF).unwrap().to_le_bytes());
        page[14..16].copy_from_slice(&200_u16.to_le_bytes());
        let checksum = page_checksum(&page, block_number);
        page[8..10].copy_from_slice(&checksum.to_le_bytes());
        page
    }

    /// The same in the words of the definition: one lane after the other, one number after the other.
    fn by_the_definition(page: &[u8], block_number: u32) -> u16 {
        let mut page = page.to_vec();
        page[8..10].fill(0);
        let number = |at: usize| u32::from_le_bytes(page[at * 4..at * 4 + 4].try_into().unwrap());
        let sums = (0..LANES).map(|lane| {
            let own = (lane..page.len() / 4).step_by(LANES).map(number);
            own.chain([0, 0])
                .fold(LANE_OFFSETS[lane], |sum, value| (sum ^ value).wrapping_mul(FNV_PRIME) ^ ((sum ^ value) >> 17))
        });
        let folded = sums.fold(block_number, |folded, sum| folded ^ sum);
        u16::try_from(folded % 65_535 + 1).unwrap()
    }

    #[test]
    fn judges_by_what_the_header_says() {
        let good = page(8192, 0x12_3456_7890, 7);
        assert_eq!(judge_page(&good, 7, lsn(0x12_3456_7891)), PageVerdict::Good);
        assert_eq!(judge_page(&good, 7, lsn(0x12_3456_7890)), PageVerdict::Changing);
        assert_eq!(judge_page(&good, 7, lsn(1)), PageVerdict::Changing);
        let torn = judge_page(&good, 8, lsn(1));
        assert!(matches!(torn, PageVerdict::Torn { lsn: found, .. } if found == lsn(0x12_3456_7890)), "{torn:?}");
        let PageVerdict::Bad { stored, computed } = judge_page(&good, 8, lsn(u64::MAX)) else { panic!() };
        assert_eq!((stored, computed), (page_checksum(&good, 7), page_checksum(&good, 8)));
        let mut new = good.clone();
        new[14..16].fill(0);
        assert_eq!(judge_page(&new, 7, lsn(u64::MAX)), PageVerdict::New);
        assert_eq!(judge_page(&[0; 8192], 0, lsn(1)), PageVerdict::New);
        assert_eq!(judge_page(&[], 0, lsn(1)), PageVerdict::New);
    }

    /// Always the same bits: any two pages have the same checksum once in 65535 times.
    #[test]
    fn a_flipped_bit_is_seen_wherever_it_is() {
        for size in BLOCK_SIZES {
            for at in (0..16).chain((16..size).step_by(size / 16 + 5)) {
                let mut page = page(size, 77, 5);
                page[at] ^= 1 << (at % 8);
                let verdict = judge_page(&page, 5, lsn(u64::MAX));
                assert!(matches!(verdict, PageVerdict::Bad { .. }), "{size} {at} {verdict:?}");
            }
        }
    }

    proptest! {
        #[test]
        fn equals_the_definition(
            size in proptest::sample::select(&BLOCK_SIZES[..]), seed in any::<u64>(), block in any::<u32>(),
        ) {
            let mut state = seed | 1;
            let page: Vec<u8> = (0..size).map(|_| {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                u8::try_from(state >> 56).unwrap()
            }).collect();
            prop_assert_eq!(page_checksum(&page, block), by_the_definition(&page, block));
            prop_assert!(page_checksum(&page, block) != 0);
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..700), block in any::<u32>()) {
            let _ = judge_page(&bytes, block, lsn(1));
        }
    }
}

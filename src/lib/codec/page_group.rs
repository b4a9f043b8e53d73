//! Digests of pages, several at once: a vector unit that takes 16 blocks at a time is half idle with one page of 8 KiB.
//!
//! INVARIANT: what comes out is `blake3::keyed_hash` of each page, bit for bit. The shape of the tree, and the values of
//! the flags, are those of the BLAKE3 paper (sections 2.1 to 2.5).

use blake3::platform::Platform;
use blake3::{BLOCK_LEN, CHUNK_LEN, IncrementCounter, OUT_LEN};

/// Pages that are digested side by side: the widest vector units take so many.
const GROUP_PAGES: usize = 16;

const CHUNK_START: u8 = 1;
const CHUNK_END: u8 = 1 << 1;
const PARENT: u8 = 1 << 2;
const ROOT: u8 = 1 << 3;
const KEYED_HASH: u8 = 1 << 4;

type Value = [u8; OUT_LEN];

/// The digest of each page of `bytes`, of which the last may be shorter, to `take`.
pub(super) fn digest_pages(key: &Value, bytes: &[u8], page_bytes: usize, mut take: impl FnMut(Value)) {
    let page_bytes = page_bytes.max(1);
    // Only these have a whole tree; and of one chunk there is no tree.
    let is_grouped = page_bytes.is_power_of_two() && page_bytes > CHUNK_LEN;
    let whole_bytes = if is_grouped { bytes.len() - bytes.len() % page_bytes } else { 0 };
    let (whole, rest) = bytes.split_at(whole_bytes);
    let platform = Platform::detect();
    for group in whole.chunks(GROUP_PAGES.saturating_mul(page_bytes)) {
        digest_group(platform, &words_of(key), group, page_bytes).into_iter().for_each(&mut take);
    }
    for page in rest.chunks(page_bytes) {
        take(*blake3::keyed_hash(key, page).as_bytes());
    }
}

fn words_of(key: &Value) -> [u32; OUT_LEN / 4] {
    let (words, _) = key.as_chunks();
    let mut numbers = [0; OUT_LEN / 4];
    numbers.iter_mut().zip(words).for_each(|(number, word)| *number = u32::from_le_bytes(*word));
    numbers
}

/// Whole pages: the same step of each of them at once.
fn digest_group(platform: Platform, key: &[u32; OUT_LEN / 4], pages: &[u8], page_bytes: usize) -> Vec<Value> {
    let count = pages.len() / page_bytes;
    // The first chunk of each page, then the second of each, and so on.
    let mut values = vec![Value::default(); pages.len() / CHUNK_LEN];
    let mut inputs: Vec<&[u8; CHUNK_LEN]> = Vec::with_capacity(count);
    for (counter, out) in values.chunks_exact_mut(count).enumerate() {
        inputs.clear();
        inputs.extend(pages.chunks_exact(page_bytes).filter_map(|page| page.as_chunks().0.get(counter)));
        let (flags, out) = (KEYED_HASH, out.as_flattened_mut());
        platform.hash_many(&inputs, key, counter as u64, IncrementCounter::No, flags, CHUNK_START, CHUNK_END, out);
    }
    let mut parents: Vec<[Value; 2]> = Vec::with_capacity(values.len() / 2);
    while values.len() > count {
        parents.clear();
        for (left, right) in values.chunks_exact(2 * count).map(|two| two.split_at(count)) {
            parents.extend(left.iter().zip(right).map(|(left, right)| [*left, *right]));
        }
        values.truncate(parents.len());
        let flags = if parents.len() == count { KEYED_HASH | PARENT | ROOT } else { KEYED_HASH | PARENT };
        let (inputs, _) = parents.as_flattened().as_flattened().as_chunks::<BLOCK_LEN>();
        let inputs: Vec<&[u8; BLOCK_LEN]> = inputs.iter().collect();
        platform.hash_many(&inputs, key, 0, IncrementCounter::No, flags, 0, 0, values.as_flattened_mut());
    }
    values
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_group_gives_what_each_page_gives_alone(
            page_kib in prop_oneof![Just(1usize), Just(2), Just(3), Just(4), Just(8), Just(16), Just(32)],
            pages in 0usize..40,
            more in 0usize..5000,
            seed in any::<u8>(),
        ) {
            let page_bytes = page_kib * 1024;
            let bytes: Vec<u8> = (0..pages * page_bytes + more).map(|at| (at * 7 / 3 + at / 251) as u8 ^ seed).collect();
            let key = [seed; 32];
            let mut found = Vec::new();
            digest_pages(&key, &bytes, page_bytes, |digest| found.push(digest));
            let expected: Vec<Value> =
                bytes.chunks(page_bytes).map(|page| *blake3::keyed_hash(&key, page).as_bytes()).collect();
            prop_assert_eq!(found, expected);
        }
    }

    /// Also where the machine has wider vectors than others have.
    #[test]
    fn every_platform_gives_the_same() {
        let pages: Vec<u8> = (0..19 * 8192u32).map(|at| ((at * 31) >> 3) as u8).collect();
        let key = [9; 32];
        let expected: Vec<Value> = pages.chunks(8192).map(|page| *blake3::keyed_hash(&key, page).as_bytes()).collect();
        let mut platforms = vec![Platform::portable(), Platform::detect()];
        #[cfg(target_arch = "x86_64")]
        platforms.extend([Platform::sse2(), Platform::sse41(), Platform::avx2()].into_iter().flatten());
        for platform in platforms {
            assert_eq!(digest_group(platform, &words_of(&key), &pages, 8192), expected, "{platform:?}");
        }
    }
}

//! What every fuzz target is made of; the targets themselves are in `src/lib/fuzzing` of pgv.

pub use libfuzzer_sys;
pub use pgv;

/// A fuzz target of that name, with an allocator that counts.
#[macro_export]
macro_rules! target {
    ($name:literal) => {
        #[global_allocator]
        static ALLOCATOR: $crate::pgv::fuzzing::CountingAllocator = $crate::pgv::fuzzing::CountingAllocator;

        $crate::libfuzzer_sys::fuzz_target!(|data: &[u8]| {
            $crate::pgv::fuzzing::find($name).expect("a target of that name").check(data);
        });
    };
}

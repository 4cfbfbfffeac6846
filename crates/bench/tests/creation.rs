//! What a machine costs before anything happens on it.

use bench::counting::Counting;
use bench::setup::empty_machine;
use bench::table::CREATION_BYTES;

#[global_allocator]
static ALLOCATOR: Counting = Counting::new();

#[test]
fn a_machine_of_24_gib_with_empty_pools_asks_for_less_than_64_kib() {
    let (_machine, bytes) = ALLOCATOR.bytes_asked_by(empty_machine);
    assert!(bytes < CREATION_BYTES, "{bytes} bytes");
}

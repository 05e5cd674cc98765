//! The dice of banks that are played: SplitMix64 (Steele, Lea and Flood, "Fast splittable pseudorandom number generators").
//!
//! What a draw gives depends on the seed, on what it is about and on how often that was seen, and on nothing else: equal
//! seeds behave equally whatever the order of the calls.

/// The numbers that belong to one request.
pub(crate) struct Draw(u64);

impl Draw {
    /// For the `nth` request about `id`.
    pub(crate) fn new(seed: u64, id: u64, nth: u32) -> Draw {
        let mut draw = Draw(seed);
        draw.0 = draw.next() ^ id;
        draw.0 = draw.next() ^ u64::from(nth);
        draw
    }

    /// For the `nth` request about `name`.
    pub(crate) fn named(seed: u64, name: &str, nth: u32) -> Draw {
        let mut draw = Draw(seed);
        for byte in name.bytes() {
            draw.0 = draw.next() ^ u64::from(byte);
        }
        draw.0 = draw.next() ^ u64::from(nth);
        draw
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// 0 ≤ fraction < 1.
    pub(crate) fn fraction(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// Whether something that happens at `rate` happens.
    pub(crate) fn hits(&mut self, rate: f64) -> bool {
        self.fraction() < rate
    }
}

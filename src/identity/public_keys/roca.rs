//! RSA keys made by a library whose primes can be found (ROCA, CVE-2017-15361): smart cards and TPMs of 2012 to 2017.
//!
//! Their primes, and so their moduli, are powers of 65537 modulo every small prime. Of other moduli one in two hundred
//! million is.

/// The small primes that the library made its primes from.
const PRIMES: [u32; 38] = [
    3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37, 41, 43, 47, 53, 59, 61, 67, 71, 73, 79, 83, 89, 97, 101, 103, 107, 109, 113, 127,
    131, 137, 139, 149, 151, 157, 163, 167,
];
const GENERATOR: u32 = 65537;

/// Whether a modulus, most significant byte first, is of that kind.
pub(super) fn is_weak(modulus: &[u8]) -> bool {
    PRIMES.iter().all(|prime| is_power(modulus.iter().fold(0, |rest, byte| (rest << 8 | u32::from(*byte)) % prime), *prime))
}

/// Whether `number` is a power of the generator modulo `prime`.
fn is_power(number: u32, prime: u32) -> bool {
    let powers = std::iter::successors(Some(1), |power| Some(power * (GENERATOR % prime) % prime));
    // After as many as there are numbers they come again.
    powers.take(prime as usize).any(|power| power == number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn powers_of_the_generator_are_found_and_others_are_not() {
        // Modulo 11, 65537 is 10, and its powers are 1 and 10.
        let powers: Vec<u32> = (0..11).filter(|number| is_power(*number, 11)).collect();
        assert_eq!(powers, [1, 10]);
        assert!(is_weak(&[1]), "the zeroth power");
        assert!(is_weak(&GENERATOR.to_be_bytes()), "the first");
        assert!(!is_weak(&[2]));
    }
}

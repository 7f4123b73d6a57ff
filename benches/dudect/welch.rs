//! Welch's t-test, over all samples and over those below several limits.

/// |t| above this says that two classes differ: by chance once in 150 000 tests.
pub(crate) const LIMIT: f64 = 4.5;
/// Limits on the time of a sample; the first lets everything pass.
const LIMITS: usize = 16;
/// A test of fewer samples of a class says nothing.
const SAMPLES_MIN: f64 = 10_000.0;

/// Count, mean and spread of one class (Welford 1962).
#[derive(Clone, Copy, Default)]
struct Class {
    count: f64,
    mean: f64,
    squares: f64,
}

impl Class {
    fn add(&mut self, time: f64) {
        self.count += 1.0;
        let step = time - self.mean;
        self.mean += step / self.count;
        self.squares += step * (time - self.mean);
    }

    /// The variance of the mean.
    fn uncertainty(&self) -> f64 {
        self.squares / (self.count - 1.0) / self.count
    }
}

/// The tests of one kernel.
pub(crate) struct Tests {
    limits: [f64; LIMITS],
    classes: [[Class; 2]; LIMITS],
}

impl Tests {
    /// With limits where `samples` of both classes are denser: the lower, the nearer they stand.
    pub(crate) fn new(mut samples: Vec<f64>) -> Self {
        samples.sort_by(f64::total_cmp);
        let mut limits = [f64::INFINITY; LIMITS];
        for (step, limit) in limits.iter_mut().enumerate().skip(1) {
            let share = 1.0 - 0.5_f64.powf(10.0 * step as f64 / LIMITS as f64);
            // The floor of a share of a length is an index.
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "above")]
            let index = (share * samples.len() as f64) as usize;
            *limit = samples[index.min(samples.len() - 1)];
        }
        Tests { limits, classes: [[Class::default(); 2]; LIMITS] }
    }

    /// Takes in a sample of one class.
    pub(crate) fn add(&mut self, is_random: bool, time: f64) {
        for (limit, classes) in self.limits.iter().zip(&mut self.classes) {
            if time <= *limit {
                classes[usize::from(is_random)].add(time);
            }
        }
    }

    /// The largest |t| of all tests that have samples enough.
    pub(crate) fn t_max(&self) -> f64 {
        let enough = |[fixed, random]: &&[Class; 2]| fixed.count.min(random.count) >= SAMPLES_MIN;
        self.classes.iter().filter(enough).map(t).fold(0.0, f64::max)
    }
}

fn t([fixed, random]: &[Class; 2]) -> f64 {
    let uncertainty = fixed.uncertainty() + random.uncertainty();
    if uncertainty > 0.0 { (fixed.mean - random.mean).abs() / uncertainty.sqrt() } else { 0.0 }
}

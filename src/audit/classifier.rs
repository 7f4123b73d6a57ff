//! A simple classifier over features with few values each: naive Bayes.

/// What is known of each sample in one respect: one of few values.
pub(super) struct Feature {
    /// For people.
    pub(super) name: String,
    /// The value of each sample, below `values`.
    pub(super) of: Vec<u16>,
    /// How many values there are.
    pub(super) values: usize,
}

impl Feature {
    /// The values of `samples`, numbered by their order.
    pub(super) fn new<T: Ord + Copy>(name: impl Into<String>, samples: &[T]) -> Self {
        let mut values = samples.to_vec();
        values.sort_unstable();
        values.dedup();
        // More than 2^16 values share the last number.
        let number = |sample: &T| values.binary_search(sample).unwrap_or_default();
        let of = samples.iter().map(|sample| u16::try_from(number(sample)).unwrap_or(u16::MAX));
        Feature { name: name.into(), of: of.collect(), values: values.len().min(1 << 16) }
    }

    /// In which of `parts` equally frequent ranges of all samples each is.
    pub(super) fn by_rank(name: impl Into<String>, samples: &[f64], parts: usize) -> Self {
        let mut sorted = samples.to_vec();
        sorted.sort_unstable_by(f64::total_cmp);
        let mut edges: Vec<f64> =
            (1..parts).map(|part| sorted[part * sorted.len() / parts]).collect();
        edges.dedup();
        let range = |sample: &f64| edges.partition_point(|edge| edge <= sample);
        Feature::new(name, &samples.iter().map(range).collect::<Vec<_>>())
    }

    /// How often each class has each value: a row a class.
    pub(super) fn table(&self, labels: &[u16], classes: usize) -> Vec<Vec<u64>> {
        let mut table = vec![vec![0; self.values]; classes];
        for (label, value) in labels.iter().zip(&self.of) {
            table[usize::from(*label)][usize::from(*value)] += 1;
        }
        table
    }
}

/// The logarithm of how likely each class makes each value: by class, feature and value.
pub(super) struct Classifier(Vec<Vec<Vec<f64>>>);

impl Classifier {
    /// Trained on the samples for which `is_for_training` holds. Every value counts as seen once
    /// more (Laplace).
    pub(super) fn train(
        features: &[Feature],
        labels: &[u16],
        classes: usize,
        is_for_training: impl Fn(usize) -> bool,
    ) -> Self {
        let of = |class: usize, feature: &Feature| {
            let mut counts = vec![1u64; feature.values];
            let samples = labels.iter().zip(&feature.of).enumerate();
            for (_, (_, value)) in samples.filter(|(sample, (label, _))| {
                usize::from(**label) == class && is_for_training(*sample)
            }) {
                counts[usize::from(*value)] += 1;
            }
            let sum = counts.iter().sum::<u64>() as f64;
            counts.iter().map(|&count| (count as f64 / sum).ln()).collect()
        };
        let of_class = |class| features.iter().map(|feature| of(class, feature)).collect();
        Classifier((0..classes).map(of_class).collect())
    }

    /// How much a sample speaks for each class: logarithms of likelihoods.
    pub(super) fn scores(&self, features: &[Feature], sample: usize) -> Vec<f64> {
        let value = |feature: &Feature| usize::from(feature.of[sample]);
        let score = |likelihoods: &Vec<Vec<f64>>| {
            likelihoods.iter().zip(features).map(|(of, feature)| of[value(feature)]).sum()
        };
        self.0.iter().map(score).collect()
    }

    /// The class that a sample speaks for most.
    pub(super) fn guess(&self, features: &[Feature], sample: usize) -> usize {
        let scores = self.scores(features, sample);
        (0..scores.len()).max_by(|&a, &b| scores[a].total_cmp(&scores[b])).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_numbered_by_their_order_and_ranks_are_equally_frequent() {
        let ports = Feature::new("port", &[9000, 7700, 9000, 8000]);
        assert_eq!((ports.values, &ports.of[..]), (3, &[2, 0, 2, 1][..]));
        let ranks = Feature::by_rank("gap", &[5.0, 1.0, 4.0, 2.0, 3.0, 6.0], 3);
        assert_eq!((ranks.values, &ranks.of[..]), (3, &[2, 0, 1, 0, 1, 2][..]));
        // Equal ones are never told apart.
        assert_eq!(Feature::by_rank("none", &[1.0; 6], 3).values, 1);
        assert_eq!(ports.table(&[0, 1, 1, 0], 2), [[0, 1, 1], [1, 0, 1]]);
    }

    #[test]
    fn what_features_tell_is_learnt() {
        let labels: Vec<u16> = (0..1000).map(|sample| sample % 2).collect();
        let told: Vec<u16> = (0..1000u16).map(|sample| (sample % 2) + (sample % 3)).collect();
        let features = [Feature::new("told", &told), Feature::new("constant", &[1; 1000])];
        let classifier = Classifier::train(&features, &labels, 2, |sample| sample < 500);
        let right =
            |&sample: &usize| classifier.guess(&features, sample) == usize::from(labels[sample]);
        // Values 0 and 3 tell all, 1 and 2 nothing.
        let right = (500..1000).filter(right).count();
        assert!((300..367).contains(&right), "{right}");
    }
}

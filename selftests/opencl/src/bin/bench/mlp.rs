// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Training a perceptron with one hidden layer, on the CPU: what `kernels.cl` does, to check it. Matrices by rows.

pub const INPUTS: usize = 784;
pub const HIDDEN: usize = 32;
pub const OUTPUTS: usize = 10;
pub const BATCH: usize = 32;
pub const RATE: f32 = 0.05;
pub const DECAY: f32 = 0.9;

/// What is learnt.
#[derive(Clone)]
pub struct Weights {
    pub w1: Vec<f32>,
    pub b1: Vec<f32>,
    pub w2: Vec<f32>,
    pub b2: Vec<f32>,
}

impl Weights {
    pub fn zero() -> Self {
        Weights {
            w1: vec![0.0; INPUTS * HIDDEN],
            b1: vec![0.0; HIDDEN],
            w2: vec![0.0; HIDDEN * OUTPUTS],
            b2: vec![0.0; OUTPUTS],
        }
    }

    /// To begin with.
    pub fn first() -> Self {
        let mut weights = Weights::zero();
        let mut random = Random(1);
        weights.w1.fill_with(|| 0.1 * random.next());
        weights.w2.fill_with(|| 0.2 * random.next());
        weights
    }
}

/// Examples, with what they show.
pub struct Batch {
    pub x: Vec<f32>,
    pub labels: Vec<u32>,
}

impl Batch {
    pub fn new(number: u32) -> Self {
        let mut random = Random(100 + number);
        let labels: Vec<u32> = (0..BATCH as u32)
            .map(|i| (i * 7 + number) % OUTPUTS as u32)
            .collect();
        // Noise, with a mark in another place for each label.
        let x = labels.iter().flat_map(|label| {
            let mark = 70 * *label as usize..70 * *label as usize + 70;
            let pixels =
                (0..INPUTS).map(|i| random.next() + f32::from(u8::from(mark.contains(&i))));
            pixels.collect::<Vec<_>>()
        });
        Batch {
            x: x.collect(),
            labels,
        }
    }
}

/// Numbers from -0.5 to 0.5.
struct Random(u32);

impl Random {
    fn next(&mut self) -> f32 {
        self.0 = self.0.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (self.0 >> 16) as f32 / 65536.0 - 0.5
    }
}

pub struct Mlp {
    weights: Weights,
    velocity: Weights,
}

/// Adds `factor` times `row` to `to`.
fn add(to: &mut [f32], row: &[f32], factor: f32) {
    for (to, row) in to.iter_mut().zip(row) {
        *to += factor * row;
    }
}

impl Mlp {
    pub fn new() -> Self {
        Mlp {
            weights: Weights::first(),
            velocity: Weights::zero(),
        }
    }

    /// Learns from a batch; returns its loss.
    pub fn step(&mut self, batch: &Batch) -> f32 {
        let mut gradient = Weights::zero();
        let mut loss = 0.0;
        for (x, label) in batch.x.chunks_exact(INPUTS).zip(&batch.labels) {
            loss += self.learn(x, *label as usize, &mut gradient);
        }
        self.descend(&gradient);
        loss / BATCH as f32
    }

    /// Adds to the gradient; returns the loss.
    fn learn(&self, x: &[f32], label: usize, gradient: &mut Weights) -> f32 {
        let Weights { w1, b1, w2, b2 } = &self.weights;
        let mut a = vec![0.0; HIDDEN];
        for (x, row) in x.iter().zip(w1.chunks_exact(HIDDEN)) {
            add(&mut a, row, *x);
        }
        add(&mut a, b1, 1.0);
        a.iter_mut().for_each(|a| *a = a.max(0.0));

        let mut y = vec![0.0; OUTPUTS];
        for (a, row) in a.iter().zip(w2.chunks_exact(OUTPUTS)) {
            add(&mut y, row, *a);
        }
        add(&mut y, b2, 1.0);
        let most = y.iter().copied().fold(f32::MIN, f32::max);
        let e: Vec<f32> = y.iter().map(|y| (y - most).exp()).collect();
        let sum: f32 = e.iter().sum();

        let mut dy: Vec<f32> = e.iter().map(|e| e / sum / BATCH as f32).collect();
        dy[label] -= 1.0 / BATCH as f32;
        for (a, row) in a.iter().zip(gradient.w2.chunks_exact_mut(OUTPUTS)) {
            add(row, &dy, *a);
        }
        add(&mut gradient.b2, &dy, 1.0);
        let towards = |row: &[f32]| row.iter().zip(&dy).map(|(w, dy)| w * dy).sum::<f32>();
        let dh: Vec<f32> = w2
            .chunks_exact(OUTPUTS)
            .zip(&a)
            .map(|(row, a)| if *a > 0.0 { towards(row) } else { 0.0 })
            .collect();
        for (x, row) in x.iter().zip(gradient.w1.chunks_exact_mut(HIDDEN)) {
            add(row, &dh, *x);
        }
        add(&mut gradient.b1, &dh, 1.0);
        sum.ln() + most - y[label]
    }

    fn descend(&mut self, gradient: &Weights) {
        let descend = |w: &mut [f32], v: &mut [f32], dw: &[f32]| {
            for ((w, v), dw) in w.iter_mut().zip(v).zip(dw) {
                *v = *v * DECAY + dw;
                *w -= *v * RATE;
            }
        };
        let (weights, velocity) = (&mut self.weights, &mut self.velocity);
        descend(&mut weights.w1, &mut velocity.w1, &gradient.w1);
        descend(&mut weights.b1, &mut velocity.b1, &gradient.b1);
        descend(&mut weights.w2, &mut velocity.w2, &gradient.w2);
        descend(&mut weights.b2, &mut velocity.b2, &gradient.b2);
    }
}

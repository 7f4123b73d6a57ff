//! Plots of what was measured beside what an ideal mix gives, as SVG files.

use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};

use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::AuditError;
use crate::audit::delays::Residence;
use crate::audit::{Journey, Observation, bursts, entropy};
use crate::crypto::random::Rng;

const SIZE: (u32, u32) = (800, 500);
const FONT: (&str, i32) = ("sans-serif", 14);
/// Residences that are shown, in means, and how finely.
const MEANS_MAX: f64 = 9.0;
const STEPS: u32 = 180;
/// Thinnings of the stream at which entropy is shown: halved so often.
const HALVINGS: u32 = 9;
/// Targets of each.
const TARGETS_MAX: usize = 1000;
/// Bursts up to this size are shown.
const BURST_MAX: usize = 8;

type Drawn = Result<(), Box<dyn Error>>;
type Plot = fn(&Observation, &[Journey], &Canvas<'_>) -> Drawn;
type Canvas<'a> = DrawingArea<SVGBackend<'a>, plotters::coord::Shift>;

/// Draws `observation` into files in `folder`; where they lie.
///
/// # Errors
/// When a file cannot be written.
pub(super) fn draw(observation: &Observation, folder: &Path) -> Result<Vec<PathBuf>, AuditError> {
    let failed = |source| AuditError::Folder { path: folder.to_owned(), source };
    fs::create_dir_all(folder).map_err(failed)?;
    let journeys = observation.journeys();
    let plots: [(&str, Plot); 3] =
        [("delays.svg", delays), ("entropy.svg", entropies), ("bursts.svg", burst_order)];
    let mut paths = vec![];
    for (name, plot) in plots {
        let mut text = String::new();
        let drawn = {
            let canvas = SVGBackend::with_string(&mut text, SIZE).into_drawing_area();
            plot(observation, &journeys, &canvas).and_then(|()| Ok(canvas.present()?))
        };
        let path = folder.join(name);
        drawn
            .map_err(|error| std::io::Error::other(error.to_string()))
            .and_then(|()| fs::write(&path, text))
            .map_err(|source| AuditError::Folder { path: path.clone(), source })?;
        paths.push(path);
    }
    Ok(paths)
}

/// How many packets stay longer than so many mean delays: a straight line for an exponential
/// distribution, since the share is on a logarithmic scale.
fn delays(observation: &Observation, journeys: &[Journey], canvas: &Canvas<'_>) -> Drawn {
    let ideal = Residence::of(observation, journeys);
    let mut measured: Vec<f64> = journeys.iter().map(Journey::residence_ns).collect();
    measured.sort_unstable_by(f64::total_cmp);
    let mean_ns = observation.delay_mean.0 as f64;
    let longer = |means: f64| {
        let after = measured.partition_point(|residence| *residence <= means * mean_ns);
        (measured.len() - after) as f64 / (measured.len() as f64).max(1.0)
    };
    let at = |step: u32| f64::from(step) * MEANS_MAX / f64::from(STEPS);
    let line = |share: &dyn Fn(f64) -> f64| {
        let points = (0..=STEPS).map(at).map(|means| (means, share(means)));
        points.filter(|point| point.1 > 0.0).map(|(x, y)| (x, y.log10())).collect::<Vec<_>>()
    };
    let frame = Frame {
        title: "Time in the node",
        x: ("mean delays", 0.0..MEANS_MAX),
        y: ("log10 of the share that stays longer", -4.5..0.0),
        legend: ["exponential", "measured"],
        legend_at: 48,
    };
    let ideal = line(&|means| 1.0 - ideal.cdf(means * mean_ns));
    frame.draw(canvas, &ideal, &line(&longer), &[])
}

/// The mean entropy of an observer's belief, of the stream and of random parts of it.
fn entropies(observation: &Observation, _: &[Journey], canvas: &Canvas<'_>) -> Drawn {
    let mut rng = Rng::from_os();
    let mut measured = vec![];
    let mut part = observation.clone();
    for _ in 0..HALVINGS {
        let journeys = part.journeys();
        let step = (journeys.len() / TARGETS_MAX).max(1);
        let targets: Vec<_> = journeys.into_iter().step_by(step).collect();
        let posteriors = entropy::posteriors(&part, &targets);
        let sum: f64 = posteriors.iter().map(|target| target.entropy).sum();
        let inside = part.packets_inside();
        if inside >= 1.0 && !posteriors.is_empty() {
            measured.push((inside.log2(), sum / posteriors.len() as f64));
        }
        part = halved(&part, &mut rng);
    }
    let most = measured.first().map_or(1.0, |point| point.0).ceil() + 0.5;
    let line = |inside: f64| (inside, entropy::closed_form(inside.exp2()));
    let frame = Frame {
        title: "Entropy of an observer's belief where a packet left",
        x: ("log2 of the packets inside", 0.0..most),
        y: ("bits", 0.0..most + 2.0),
        legend: ["log2(e * packets inside)", "measured"],
        legend_at: 380,
    };
    frame.draw(canvas, &[line(0.0), line(most)], &measured, &measured)
}

/// A random half of the packets, as if the others had never been.
fn halved(observation: &Observation, rng: &mut Rng) -> Observation {
    let mut half = Observation {
        arrivals: vec![],
        departures: vec![],
        passages: vec![],
        cuts: observation.cuts.clone(),
        ..*observation
    };
    let mut kept: Vec<_> =
        observation.passages.iter().copied().filter(|_| rng.below(2) == 0).collect();
    kept.sort_unstable_by_key(|passage| passage.arrival);
    for (place, passage) in kept.iter_mut().enumerate() {
        half.arrivals.push(observation.arrivals[passage.arrival]);
        passage.arrival = place;
    }
    kept.sort_unstable_by_key(|passage| passage.departure);
    for (place, passage) in kept.iter_mut().enumerate() {
        half.departures.push(observation.departures[passage.departure].clone());
        passage.departure = place;
    }
    half.passages = kept;
    half
}

/// In how many bursts of each size the first packet had arrived before the last one: in half of
/// them, if the order says nothing.
fn burst_order(observation: &Observation, journeys: &[Journey], canvas: &Canvas<'_>) -> Drawn {
    let mut by_departure = vec![None; observation.departures.len()];
    journeys.iter().for_each(|journey| by_departure[journey.departure] = Some(journey.arrival));
    let mut sizes = [(0_u32, 0_u32); BURST_MAX + 1];
    for burst in bursts::bursts(&observation.departures) {
        let packets: Vec<usize> = by_departure[burst].iter().copied().flatten().collect();
        if let ([first, .., last], Some((count, in_order))) =
            (&packets[..], sizes.get_mut(packets.len()))
        {
            *count += 1;
            *in_order += u32::from(first < last);
        }
    }
    let seen = (0_u32..).zip(sizes).filter(|(_, (count, _))| *count > 0);
    let measured: Vec<(f64, f64)> = seen
        .clone()
        .map(|(size, (count, in_order))| (f64::from(size), f64::from(in_order) / f64::from(count)))
        .collect();
    // Three standard deviations of a share of one half.
    let band = |sign: f64| {
        let edge = move |(size, (count, _)): (u32, (u32, u32))| {
            (f64::from(size), (0.5 + sign * 1.5 / f64::from(count).sqrt()).clamp(0.0, 1.0))
        };
        seen.clone().map(edge).collect::<Vec<_>>()
    };
    let mut edges = band(1.0);
    edges.extend(band(-1.0).into_iter().rev());
    edges.extend(edges.first().copied());
    let frame = Frame {
        title: "Bursts in which the first packet had arrived before the last one",
        x: ("packets in the burst", 1.5..BURST_MAX as f64 + 0.5),
        y: ("share of the bursts", 0.0..1.0),
        legend: ["by chance, within three sigma", "measured"],
        legend_at: 48,
    };
    frame.draw(canvas, &edges, &[], &measured)
}

/// What is around a plot.
struct Frame {
    title: &'static str,
    x: (&'static str, std::ops::Range<f64>),
    y: (&'static str, std::ops::Range<f64>),
    legend: [&'static str; 2],
    /// How far below the upper edge the legend is, in pixels.
    legend_at: i32,
}

impl Frame {
    /// An ideal line, a measured one, and measured points.
    fn draw(
        self,
        canvas: &Canvas<'_>,
        ideal: &[(f64, f64)],
        line: &[(f64, f64)],
        points: &[(f64, f64)],
    ) -> Drawn {
        canvas.fill(&WHITE)?;
        let mut chart = ChartBuilder::on(canvas)
            .caption(self.title, ("sans-serif", 18))
            .margin(12)
            .x_label_area_size(44)
            .y_label_area_size(56)
            .build_cartesian_2d(self.x.1, self.y.1)?;
        chart
            .configure_mesh()
            .x_desc(self.x.0)
            .y_desc(self.y.0)
            .label_style(FONT)
            .axis_desc_style(FONT)
            .draw()?;
        let styles = [RED.mix(0.8), BLUE.mix(0.9)];
        let path = |points: &[(f64, f64)], color: RGBAColor| {
            PathElement::new(points.to_vec(), color.stroke_width(2))
        };
        chart.draw_series([path(ideal, styles[0]), path(line, styles[1])])?;
        chart.draw_series(points.iter().map(|at| Circle::new(*at, 4, styles[1].filled())))?;
        let place = Pos::new(HPos::Right, VPos::Top);
        for (name, (color, row)) in self.legend.into_iter().zip(styles.into_iter().zip(0..)) {
            let style = FONT.into_font().color(&color).pos(place);
            let width = i32::try_from(SIZE.0).unwrap_or(0);
            canvas.draw(&Text::new(name, (width - 24, self.legend_at + 20 * row), style))?;
        }
        Ok(())
    }
}

//! The curves as a picture.

/// A curve: its name, and points of loss in percent and PESQ.
pub type Curve = (String, Vec<(f64, f64)>);

const WIDTH: f64 = 720.0;
const HEIGHT: f64 = 440.0;
/// Left, top, right and bottom of the axes.
const FRAME: (f64, f64, f64, f64) = (60.0, 40.0, 520.0, 390.0);
const MOST_LOSS: f64 = 20.0;
const PESQ: (f64, f64) = (1.5, 4.6);
const COLOURS: [&str; 7] = [
    "#bbbbbb", "#d0a000", "#666666", "#1b6ca8", "#2a9d5c", "#b8621b", "#8a3fa0",
];

/// An SVG of the curves, over random loss.
pub fn svg(curves: &[Curve]) -> String {
    let (left, top, right, bottom) = FRAME;
    let x = |loss: f64| left + (right - left) * loss / MOST_LOSS;
    let y = |pesq: f64| bottom - (bottom - top) * (pesq - PESQ.0) / (PESQ.1 - PESQ.0);
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH}\" height=\"{HEIGHT}\" \
         font-family=\"sans-serif\" font-size=\"13\">\n\
         <rect width=\"{WIDTH}\" height=\"{HEIGHT}\" fill=\"white\"/>\n\
         <text x=\"{left}\" y=\"22\" font-size=\"15\">Speech under random loss, by PESQ-WB</text>\n"
    );
    let mut line = |text: String| {
        out.push_str(&text);
        out.push('\n');
    };
    for pesq in [2.0, 2.5, 3.0, 3.5, 4.0, 4.5] {
        let at = y(pesq);
        line(format!(
            "<path d=\"M{left} {at:.1}H{right}\" stroke=\"#dddddd\"/>\
             <text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{pesq:.1}</text>",
            left - 8.0,
            at + 4.0
        ));
    }
    for loss in [0.0, 5.0, 10.0, 20.0] {
        line(format!(
            "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{loss} %</text>",
            x(loss),
            bottom + 20.0
        ));
    }
    // Names beside the curves' ends, apart from each other.
    let last = |points: &[(f64, f64)]| points.last().map_or(0.0, |(_, pesq)| y(*pesq));
    let mut order: Vec<usize> = (0..curves.len()).collect();
    order.sort_by(|a, b| last(&curves[*a].1).total_cmp(&last(&curves[*b].1)));
    let mut free = top;
    for index in order {
        let (name, points) = &curves[index];
        let colour = COLOURS[index % COLOURS.len()];
        let path: Vec<String> = points
            .iter()
            .map(|(loss, pesq)| format!("{:.1} {:.1}", x(*loss), y(*pesq)))
            .collect();
        let at = last(points).max(free);
        free = at + 18.0;
        line(format!(
            "<path d=\"M{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"/>\
             <text x=\"{:.1}\" y=\"{:.1}\" fill=\"{colour}\">{name}</text>",
            path.join("L"),
            right + 10.0,
            at + 4.0
        ));
    }
    out.push_str("</svg>\n");
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_curve_is_drawn_and_named() {
        let curve = |name: &str, pesq| (name.to_owned(), vec![(0.0, 4.3), (20.0, pesq)]);
        let picture = svg(&[curve("one", 2.0), curve("another", 2.01)]);
        assert!(picture.contains(">one</text>") && picture.contains(">another</text>"));
        assert_eq!(picture.matches("stroke-width").count(), 2);
    }
}

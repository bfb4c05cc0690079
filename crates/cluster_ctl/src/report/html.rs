//! The report as one HTML file: no script, nothing from outside, to be read on a screen of any width and printed.

use super::picture::picture;
use super::text::{advice, could_be, heading, lane_name, phase_name, summary};
use super::words::{Label, Language, clock};
use failover_core::terminal::foreign;
use failover_rules::report::{Level, Phase, Report, Story};
use std::fmt::Write as _;

const STYLE: &str = "\
:root{color-scheme:light}
body{font:15px/1.45 system-ui,'Noto Sans','Noto Sans CJK SC',sans-serif;margin:0 auto;max-width:1180px;padding:16px;color:#1a1a1a;background:#fff}
h1{font-size:22px;margin:8px 0}h2{font-size:18px;margin:28px 0 6px;border-top:2px solid #444;padding-top:10px}h3{font-size:15px;margin:16px 0 4px}
dl{display:grid;grid-template-columns:max-content 1fr;gap:2px 14px;margin:6px 0}dt{color:#555}dd{margin:0;overflow-wrap:anywhere}
.wide{overflow-x:auto}svg{box-sizing:border-box;min-width:640px;width:100%;height:auto;font:11px sans-serif;border:1px solid #ccc}
svg .band{fill:#d55e00;opacity:.12}svg .felt{font-weight:bold;fill:#a04000}svg .rule{stroke:#bbb}svg .tick{stroke:#ddd}
svg .host{font-weight:bold}svg .bar{fill:#fff;paint-order:stroke;stroke:#333;stroke-width:2px}svg .mark{fill:#333}
table{border-collapse:collapse;width:100%}td,th{text-align:left;vertical-align:top;padding:3px 8px 3px 0;border-bottom:1px solid #ddd;overflow-wrap:anywhere}
td.t,td.n,td.h{white-space:nowrap;font-variant-numeric:tabular-nums}td.n{text-align:right}
.part td.what{padding-left:22px}.more{color:#555;font-size:13px}
.good b{color:#00694a}.bad b{color:#b00020}.unknown b{color:#7a5c00}
@media(max-width:600px){body{padding:8px;font-size:14px}td.h{display:none}}
@media print{body{max-width:none;padding:0;font-size:10.5pt}h2,h3{break-after:avoid}tr,svg{break-inside:avoid}.wide{overflow:visible}svg{min-width:0}*{-webkit-print-color-adjust:exact;print-color-adjust:exact}}
";

/// Text that is no markup, whoever wrote it.
pub fn escaped(text: &str) -> String {
    let mut safe = String::new();
    for letter in foreign(text, text.len()).chars() {
        match letter {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            other => safe.push(other),
        }
    }
    safe
}

/// The whole file.
pub fn page(report: &Report, language: &Language) -> String {
    let title = escaped(language.label(Label::Title));
    let mut html = format!(
        "<!DOCTYPE html>\n<html lang=\"{}\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\
         <title>{title}</title><style>{STYLE}</style></head><body>\n<h1>{title}</h1>\n",
        language.code
    );
    if report.stories.is_empty() {
        let _ = writeln!(html, "<p>{}</p>", escaped(language.label(Label::Nothing)));
    }
    for story in &report.stories {
        tell(&mut html, report, story, language);
    }
    let _ = writeln!(
        html,
        "<h2>{}</h2><ul>",
        escaped(language.label(Label::Notes))
    );
    for (source, lane, _) in &report.sources {
        if source.kind.is_some() {
            let line = format!(
                "{} ({}): {} {}",
                source.name,
                lane_name(report, *lane),
                source.lines,
                language.label(Label::Read)
            );
            let _ = writeln!(html, "<li>{}</li>", escaped(&line));
        }
    }
    for note in &report.notes {
        let _ = writeln!(html, "<li>{}</li>", escaped(&language.sentence(note)));
    }
    html.push_str("</ul></body></html>\n");
    html
}

fn tell(html: &mut String, report: &Report, story: &Story, language: &Language) {
    let _ = writeln!(
        html,
        "<h2>{}</h2>\n<dl>",
        escaped(&heading(report, story, language))
    );
    for (name, value) in summary(report, story, language) {
        let _ = writeln!(
            html,
            "<dt>{}</dt><dd>{}</dd>",
            escaped(name),
            escaped(&value)
        );
    }
    for verdict in &story.verdicts {
        let class = match verdict.level {
            Level::Good => "good",
            Level::Unknown => "unknown",
            Level::Bad => "bad",
        };
        let _ = writeln!(
            html,
            "<dt>{}</dt><dd class=\"{class}\"><b>{}</b> {}</dd>",
            escaped(language.topic(verdict.topic)),
            escaped(language.level(verdict.level)),
            escaped(&language.sentence(&verdict.saying))
        );
    }
    let _ = writeln!(
        html,
        "</dl>\n<div class=\"wide\">{}</div>",
        picture(report, story, language)
    );
    let _ = writeln!(
        html,
        "<h3>{}</h3><table>",
        escaped(language.label(Label::Phases))
    );
    for phase in &story.phases {
        row(html, report, phase, language);
    }
    html.push_str("</table>\n");
    if let Some(could) = story.could {
        let _ = writeln!(
            html,
            "<p>{}</p>",
            escaped(&could_be(story, could, language))
        );
    }
    let _ = writeln!(
        html,
        "<h3>{}</h3><table>",
        escaped(language.label(Label::Moments))
    );
    for moment in &story.moments {
        let _ = writeln!(
            html,
            "<tr><td class=\"t\">{}</td><td class=\"h\">{}</td><td>{}</td></tr>",
            clock(moment.at),
            escaped(&lane_name(report, moment.lane)),
            escaped(&language.sentence(&moment.saying))
        );
    }
    html.push_str("</table>\n");
}

fn row(html: &mut String, report: &Report, phase: &Phase, language: &Language) {
    let class = if phase.depth > 0 {
        " class=\"part\""
    } else {
        ""
    };
    let mut more = String::new();
    for (name, value) in advice(phase, language) {
        let _ = write!(
            more,
            "<div class=\"more\">{}: {}</div>",
            escaped(name),
            escaped(&value)
        );
    }
    let _ = writeln!(
        html,
        "<tr{class}><td class=\"t\">{}</td><td class=\"n\">{}</td><td class=\"h\">{}</td><td class=\"what\">{}{more}</td></tr>",
        clock(phase.from),
        escaped(&language.span(phase.to - phase.from)),
        escaped(&lane_name(report, phase.lane)),
        escaped(&phase_name(phase, language)),
    );
}

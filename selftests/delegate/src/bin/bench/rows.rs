// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Results: a JSON object a line on standard output, {name, unit, values, baseline}. The baseline is another row's name,
//! of this program or of wormhole-switch-bench.

use serde_json::json;

pub fn print(name: &str, unit: &str, values: &[f64], baseline: Option<&str>) {
    let row = json!({ "name": name, "unit": unit, "values": values, "baseline": baseline });
    println!("{row}");
}

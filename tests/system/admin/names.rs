//! User names that try to be something else: in the log, the metrics, the API and ctl.

use super::{api, start};

#[test]
fn a_realm_cannot_break_the_metrics() {
    let turnd = start("realm = 'a\"} 1 x{y=\"\\'");
    let metrics = api(&turnd).get("/metrics").body;
    assert!(
        metrics.contains(r#"turn_traffic_rcvp{realm="a\"} 1 x{y=\"\\"} "#),
        "{metrics}"
    );
    super::metrics::promtool(&metrics);
}

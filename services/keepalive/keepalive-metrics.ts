import type { Metrics } from '#runtime/metrics.ts'

export type KeepaliveMetrics = ReturnType<typeof keepaliveMetrics>

/** The counters of this program, for all sessions together. */
export function keepaliveMetrics(metrics: Metrics) {
  return {
    beats: metrics.counter('s2_keepalive_beats_total', 'Beats the bridge has taken.'),
    delivered: metrics.counter('s2_keepalive_delivered_total', 'Messages brought into the inbox.'),
    acked: metrics.counter('s2_keepalive_acked_total', 'Acks the bridge has kept.'),
    sent: metrics.counter('s2_keepalive_carried_total', 'Items of the outbox the bridge has.'),
    refused: metrics.counter('s2_keepalive_refused_total', 'Items of the outbox the bridge would not have.'),
    reconnects: metrics.counter('s2_keepalive_reconnects_total', 'Returns of a bridge that was away.'),
  }
}

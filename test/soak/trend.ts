/** One figure over time. */
export interface Point {
  /** Milliseconds since the begin. */
  readonly at: number
  readonly value: number
}

/** How a figure moved: the line of least squares through its points, and how far its slope may be off. */
export interface Trend {
  readonly first: number
  readonly last: number
  readonly most: number
  readonly perHour: number
  /** Two standard errors of the slope. */
  readonly off: number
}

const HOUR_MS = 3_600_000

/** Null for fewer than three points, through which no line says anything. */
export function trendOf(points: readonly Point[]): Trend | null {
  const [begin, end] = [points[0], points.at(-1)]
  if (begin === undefined || end === undefined || points.length < 3) return null
  const count = points.length
  const meanAt = points.reduce((sum, { at }) => sum + at, 0) / count
  const mean = points.reduce((sum, { value }) => sum + value, 0) / count
  const spread = points.reduce((sum, { at }) => sum + (at - meanAt) ** 2, 0)
  const slope = points.reduce((sum, { at, value }) => sum + (at - meanAt) * (value - mean), 0) / spread
  const lineAt = (at: number): number => mean + slope * (at - meanAt)
  const rest = points.reduce((sum, { at, value }) => sum + (value - lineAt(at)) ** 2, 0)
  return {
    first: lineAt(begin.at),
    last: lineAt(end.at),
    most: points.reduce((most, { value }) => Math.max(most, value), Number.NEGATIVE_INFINITY),
    perHour: slope * HOUR_MS,
    off: 2 * Math.sqrt(rest / (count - 2) / spread) * HOUR_MS,
  }
}

/** Whether a figure certainly rises by more than this an hour. */
export function risesBy({ perHour, off }: Trend, limit: number): boolean {
  return perHour - off > limit
}

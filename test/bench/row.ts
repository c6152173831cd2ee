/**
 * One line of the bench: what was measured, what we reached, what was to be reached, and how others did in the same run.
 */
export interface Row {
  readonly what: string
  /** Bounds of figures in `ours`, by their names; none where the figure is only reported. */
  readonly reach: Figures
  readonly ours: Figures
  /** The same figures of others, measured in turn with ours. */
  readonly beside?: Readonly<Record<string, Figures>>
  /** Bounds of figures in `ours` as multiples of others' figures in `beside`; one that was not measured bounds nothing. */
  readonly reachOf?: Bounds
  /** Ours over theirs, or theirs over ours, whichever way more is better for us. */
  readonly ratio?: Readonly<Record<string, number>>
  readonly note?: string
}

/** A row that could not be measured here, and why. */
export interface Skipped {
  readonly what: string
  readonly skipped: string
}

/** Numbers whose names end in their unit: `p50Ms`, `sendsPerS`, `cpuPercent`, `pssMb`. */
export type Figures = Readonly<Record<string, number>>

/** By figure and by rival, how many times theirs ours may be, or of a speed has to be. */
export type Bounds = Readonly<Record<string, Readonly<Record<string, number>>>>

/** How a run is to be done. */
export interface Wish {
  /** Fewer and shorter rounds: to see that it works, not to quote. */
  readonly isQuick: boolean
  /** Tells who waits what is being done. */
  say(line: string): void
}

/** Measures some rows; what cannot be measured here is told, not thrown. */
export type Bench = (wish: Wish) => Promise<readonly (Row | Skipped)[]>

/** Speeds are bounded below, everything else above. */
function isSpeed(name: string): boolean {
  return name.endsWith('PerS')
}

/** A figure of ours as a multiple of a rival's, and its bound. */
export interface Multiple {
  readonly figure: string
  readonly rival: string
  readonly times: number
  readonly bound: number
}

/** The bounds of `reachOf` whose rivals were measured. */
export function multiplesOf({ reachOf = {}, ours, beside = {} }: Row): Multiple[] {
  return Object.entries(reachOf).flatMap(([figure, bounds]) =>
    Object.entries(bounds).flatMap(([rival, bound]) => {
      const theirs = beside[rival]?.[figure]
      if (theirs === undefined) return []
      return [{ figure, rival, bound, times: (ours[figure] ?? Number.NaN) / theirs }]
    }),
  )
}

/** Null when nothing was to be reached. */
export function isMet(row: Row): boolean | null {
  const isWithin = (name: string, got: number, bound: number): boolean => (isSpeed(name) ? got >= bound : got <= bound)
  const verdicts = [
    ...Object.entries(row.reach).map(([name, bound]) => isWithin(name, row.ours[name] ?? Number.NaN, bound)),
    ...multiplesOf(row).map(({ figure, times, bound }) => isWithin(figure, times, bound)),
  ]
  return verdicts.length === 0 ? null : verdicts.every((isReached) => isReached)
}

/** A multiple as people read it: `p99 1.8 × C (≤ 2)`. */
export function multipleText({ figure, rival, times, bound }: Multiple): string {
  const name = figureText(figure, Number.NaN).replace(/ –.*$/, '')
  return `${name} ${numberText(times)} × ${rival} (${isSpeed(figure) ? '≥' : '≤'} ${numberText(bound)})`
}

/** How many times better ours is in one figure than each of the others. */
export function ratios(name: string, ours: Figures, beside: Readonly<Record<string, Figures>>): Record<string, number> {
  const got = ours[name] ?? Number.NaN
  return Object.fromEntries(
    Object.entries(beside).flatMap(([other, figures]) => {
      const theirs = figures[name]
      if (theirs === undefined) return []
      return [[other, isSpeed(name) ? got / theirs : theirs / got]]
    }),
  )
}

/** A figure as people read it: `p50 0.11 ms`, `9,120 sends/s`, `missed 0`. */
export function figureText(name: string, value: number): string {
  const match = /^(.*?)(PerS|Ms|Us|Percent|Mb|S)?$/.exec(name)
  const [, stem = name, unit = ''] = match ?? []
  const words = stem.replaceAll(/[A-Z]/g, (letter) => ` ${letter.toLowerCase()}`)
  const shown = numberText(value)
  if (unit === 'PerS') return `${shown} ${words}/s`
  const units: Readonly<Record<string, string>> = { Ms: ' ms', Us: ' µs', Percent: ' %', Mb: ' MB', S: ' s' }
  return `${words} ${shown}${units[unit] ?? ''}`
}

/** Three digits that say something, thousands apart. */
export function numberText(value: number): string {
  if (!Number.isFinite(value)) return '–'
  const digits = Math.abs(value) >= 100 || Number.isInteger(value) ? 0 : Math.abs(value) >= 10 ? 1 : 2
  return value.toLocaleString('en-US', {
    maximumFractionDigits: Math.abs(value) < 0.1 ? 3 : digits,
    minimumFractionDigits: 0,
  })
}

/** A bound as people read it: `p99 ≤ 25 ms`, `≥ 8,000 sends/s`. */
export function boundText(name: string, bound: number): string {
  const text = figureText(name, bound)
  if (isSpeed(name)) return `≥ ${text}`
  const shown = numberText(bound)
  const at = text.lastIndexOf(shown)
  return `${text.slice(0, at)}≤ ${text.slice(at)}`
}

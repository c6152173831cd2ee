/** What many measurements come to. */

/** The value below which the share `q` of the samples lies (nearest rank); NaN of none. */
export function quantile(samples: readonly number[] | Float64Array, q: number): number {
  if (samples.length === 0) return Number.NaN
  const sorted = Float64Array.from(samples).sort()
  return sorted[Math.min(sorted.length - 1, Math.max(0, Math.ceil(q * sorted.length) - 1))] as number
}

export function median(values: readonly number[]): number {
  return quantile(values, 0.5)
}

/** What one round of one contender gave. */
export interface Round {
  readonly latenciesMs: Float64Array
  /** How long the round took; the rate is what was done over it. */
  readonly tookMs: number
  /** Share of one core that the server took. */
  readonly cpuPercent?: number
  /** Share of one core that the load took: at 100 it was the load that set the pace, and not the server. */
  readonly loadPercent?: number
}

/** Rates, medians and shares are medians of the rounds; p99 is of all samples, so that no round hides its tail. */
export function summarise(rate: string, rounds: readonly Round[]): Record<string, number> {
  const all = Float64Array.from(rounds.flatMap(({ latenciesMs }) => [...latenciesMs]))
  const share = (name: 'cpuPercent' | 'loadPercent'): Record<string, number> => {
    const known = rounds.flatMap((round) => round[name] ?? [])
    return known.length === 0 ? {} : { [name]: median(known) }
  }
  return {
    [rate]: median(rounds.map(({ latenciesMs, tookMs }) => (latenciesMs.length / tookMs) * 1000)),
    p50Ms: median(rounds.map(({ latenciesMs }) => quantile(latenciesMs, 0.5))),
    p99Ms: quantile(all, 0.99),
    ...share('cpuPercent'),
    ...share('loadPercent'),
  }
}

/** One after the other, round by round (A B A B), so that what the machine does meanwhile hits all alike. */
export async function interleave<N extends string>(
  rounds: number,
  contenders: Readonly<Record<N, () => Promise<Round>>>,
): Promise<Record<N, Round[]>> {
  const names = Object.keys(contenders) as N[]
  const results = Object.fromEntries(names.map((name) => [name, [] as Round[]])) as Record<N, Round[]>
  for (let round = 0; round < rounds; round += 1) {
    for (const name of names) results[name].push(await contenders[name]())
  }
  return results
}

/** What the client of an agent used, as its own result lines say. */
export interface Usage {
  /** Tokens that the model read, those from a cache among them. */
  readonly inputTokens: number
  readonly outputTokens: number
  /** The tokens among those read that came from a cache. */
  readonly cachedTokens: number
  /** US dollars; null where the client does not say, as Codex does not. */
  readonly costUsd: number | null
  /** Turns of the client: from what it was told to its answer. */
  readonly turns: number
}

export const NO_USAGE: Usage = { inputTokens: 0, outputTokens: 0, cachedTokens: 0, costUsd: null, turns: 0 }

/** Both together. A cost that only one of them says is that of both, as far as is known. */
export function addUsage(one: Usage, other: Usage): Usage {
  const costUsd = one.costUsd === null ? other.costUsd : one.costUsd + (other.costUsd ?? 0)
  return {
    inputTokens: one.inputTokens + other.inputTokens,
    outputTokens: one.outputTokens + other.outputTokens,
    cachedTokens: one.cachedTokens + other.cachedTokens,
    costUsd: costUsd === null ? null : rounded(costUsd),
    turns: one.turns + other.turns,
  }
}

/** Sums of fractions of a cent would else end in noise. */
function rounded(usd: number): number {
  return Math.round(usd * 1e9) / 1e9
}

/** What is more in the first than in the second. A cost that the second does not say is 0. */
export function usageBeyond(one: Usage, other: Usage): Usage {
  const left = (more: number, less: number): number => Math.max(0, more - less)
  return {
    inputTokens: left(one.inputTokens, other.inputTokens),
    outputTokens: left(one.outputTokens, other.outputTokens),
    cachedTokens: left(one.cachedTokens, other.cachedTokens),
    costUsd: one.costUsd === null ? null : rounded(left(one.costUsd, other.costUsd ?? 0)),
    turns: left(one.turns, other.turns),
  }
}

/** Usage as it is kept: whole counts, and a cost that is one. */
export function cleanUsage({ inputTokens, outputTokens, cachedTokens, costUsd, turns }: Usage): Usage {
  const whole = (count: number): number => Math.min(Number.MAX_SAFE_INTEGER, Math.max(0, Math.round(count) || 0))
  return {
    inputTokens: whole(inputTokens),
    outputTokens: whole(outputTokens),
    cachedTokens: whole(cachedTokens),
    costUsd: costUsd === null ? null : rounded(Math.min(COST_MAX, Math.max(0, costUsd || 0))),
    turns: whole(turns),
  }
}

/** US dollars of one task; more is a slip of whoever says it. */
export const COST_MAX = 1_000_000

const COUNTS = ['inputTokens', 'outputTokens', 'cachedTokens', 'turns'] as const

/** Usage as a file has it, in its bounds; null for anything else. */
export function usageIn(value: unknown): Usage | null {
  if (typeof value !== 'object' || value === null) return null
  const said = value as Partial<Usage>
  const isCounted = COUNTS.every((name) => typeof said[name] === 'number')
  const isPriced = said.costUsd === null || typeof said.costUsd === 'number'
  return isCounted && isPriced ? cleanUsage(said as Usage) : null
}

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

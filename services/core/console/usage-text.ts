import type { Usage } from '#fleet/usage.ts'
import { counted } from './terminal-text.ts'

/** What was used, in one line for people: `1.2M tokens in (900k cached), 45k out, 3 turns, $ 1.20`. */
export function usageText(usage: Usage): string {
  const { inputTokens, cachedTokens, outputTokens, turns } = usage
  const cached = cachedTokens === 0 ? '' : ` (${tokensText(cachedTokens)} cached)`
  const tokens = `${tokensText(inputTokens)} tokens in${cached}, ${tokensText(outputTokens)} out`
  return `${tokens}, ${counted(turns, 'turn')}, ${costText(usage) || 'its cost is not said'}`
}

/** `$ 1.20`, with four digits where it is less than a cent; empty where nobody says. */
export function costText({ costUsd }: Usage): string {
  if (costUsd === null) return ''
  return `$ ${costUsd.toFixed(costUsd > 0 && costUsd < 0.01 ? 4 : 2)}`
}

/** `950`, `12k`, `1.2M`. */
export function tokensText(tokens: number): string {
  if (tokens < 10_000) return String(tokens)
  if (tokens < 999_500) return `${Math.round(tokens / 1_000)}k`
  return `${(tokens / 1_000_000).toFixed(1)}M`
}

import { addUsage, type Usage } from '#fleet/usage.ts'

/** What may be used: US dollars as the client reckons them, or tokens in and out. */
export interface Budget {
  readonly most: number
  readonly unit: 'usd' | 'tokens'
}

/** What one task may use in all its starts together, and what an agent may use in one day of its host's clock. */
export interface Budgets {
  readonly task: Budget | null
  readonly day: Budget | null
}

export const NO_BUDGETS: Budgets = { task: null, day: null }

/** What was used so far of the one and of the other. */
export interface Used {
  readonly task: Usage
  readonly day: Usage
}

const FORM = /^(?<count>\d{1,9}(?:\.\d{1,4})?) ?(?<times>[kM])? ?(?<unit>USD|tokens)$/

/** Reads `2 USD`, `0.50 USD`, `500k tokens`, `3M tokens`. Throws an Error that says what is wrong. */
export function parseBudget(text: string): Budget {
  const { count, times, unit } = FORM.exec(text.trim())?.groups ?? {}
  const most = Number(count) * (times === 'M' ? 1_000_000 : times === 'k' ? 1_000 : 1)
  if (!(most > 0) || (unit === 'USD' && times !== undefined))
    throw new Error(`${JSON.stringify(text)} is no budget, as 2 USD or 500k tokens is`)
  return { most, unit: unit === 'USD' ? 'usd' : 'tokens' }
}

/** A budget as `parseBudget` reads it. */
export function budgetText({ most, unit }: Budget): string {
  return unit === 'usd' ? `${most} USD` : `${most} tokens`
}

/** The budget that is reached; the task's where both are. */
export function reachedBudget(budgets: Budgets, used: Used): keyof Budgets | null {
  for (const which of ['task', 'day'] as const) {
    const budget = budgets[which]
    if (budget !== null && spent(used[which], budget.unit) >= budget.most) return which
  }
  return null
}

/** The US dollars that are left, of the budget that has fewer; null where none is in dollars. */
export function dollarsLeft(
  budgets: Budgets,
  used: Used,
): { readonly of: keyof Budgets; readonly left: number } | null {
  const left = (['task', 'day'] as const).flatMap((of) => {
    const budget = budgets[of]
    return budget?.unit === 'usd' ? [{ of, left: Math.max(0, budget.most - spent(used[of], 'usd')) }] : []
  })
  return left.reduce<(typeof left)[number] | null>(
    (least, each) => (least && least.left <= each.left ? least : each),
    null,
  )
}

/** What was used with what this run has used as well. */
export function usedWith({ task, day }: Used, run: Usage): Used {
  return { task: addUsage(task, run), day: addUsage(day, run) }
}

/** `2.10 of 2 USD`, `510000 of 500000 tokens`. */
export function spentText({ most, unit }: Budget, usage: Usage): string {
  const used = spent(usage, unit)
  return unit === 'usd' ? `${used.toFixed(most < 1 ? 4 : 2)} of ${most} USD` : `${used} of ${most} tokens`
}

function spent({ inputTokens, outputTokens, costUsd }: Usage, unit: Budget['unit']): number {
  return unit === 'usd' ? (costUsd ?? 0) : inputTokens + outputTokens
}

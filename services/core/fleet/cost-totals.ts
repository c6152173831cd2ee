import type { SessionId } from './session-id.ts'
import type { Task } from './task.ts'
import { addUsage, NO_USAGE, type Usage, usageBeyond } from './usage.ts'

export const COST_KEYS = ['agent', 'day', 'role'] as const
export type CostKey = (typeof COST_KEYS)[number]

/** What was used under one name: an agent, a day, a role. */
export interface CostTotal {
  readonly name: string
  readonly tasks: number
  readonly usage: Usage
}

/** What a start used, and when: milliseconds since 1970. */
interface Use {
  readonly task: Pick<Task, 'id' | 'role'>
  readonly holder: SessionId | null
  readonly at: number
  readonly usage: Usage
}

/**
 * Totals by agent, day or role, the dearest first, days in order. A start counts on the day of its end. `nameOf`: an agent's name;
 * `dayOf`: the day of an instant, as it is called.
 */
export function costTotals(
  tasks: readonly Task[],
  by: CostKey,
  nameOf: (session: SessionId) => string,
  dayOf: (instant: number) => string,
): CostTotal[] {
  const name = ({ task, holder, at }: Use): string => {
    if (by === 'day') return dayOf(at)
    if (by === 'role') return task.role ?? 'any'
    return holder === null ? 'unknown' : nameOf(holder)
  }
  const groups = Map.groupBy(tasks.flatMap(usesOf), name)
  const totals = [...groups].map(([each, uses]) => ({
    name: each,
    tasks: new Set(uses.map(({ task }) => task.id)).size,
    usage: uses.map(({ usage }) => usage).reduce(addUsage, NO_USAGE),
  }))
  return totals.sort(by === 'day' ? (x, y) => (x.name < y.name ? -1 : 1) : dearestFirst)
}

function dearestFirst({ usage: x }: CostTotal, { usage: y }: CostTotal): number {
  return (y.costUsd ?? 0) - (x.costUsd ?? 0) || y.inputTokens + y.outputTokens - x.inputTokens - x.outputTokens
}

/** Each start with what it used. What starts used that are not remembered any more counts for the task's last holder. */
function usesOf(task: Task): Use[] {
  const known = task.attempts.flatMap(({ holder, startedAt, endedAt, usage }) =>
    usage === undefined ? [] : [{ task, holder, at: endedAt ?? startedAt, usage }],
  )
  const sum = known.map(({ usage }) => usage).reduce(addUsage, NO_USAGE)
  const rest = usageBeyond(task.usage ?? NO_USAGE, sum)
  const isMore = rest.inputTokens + rest.outputTokens + (rest.costUsd ?? 0) > 0
  return isMore ? [...known, { task, holder: task.holder, at: task.updatedAt, usage: rest }] : known
}

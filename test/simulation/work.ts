import type { Task } from '#fleet/task.ts'
import type { Dice } from './chance.ts'

/** What a command may do instead of its work. */
export const TROUBLES = ['kills its worker', 'hangs', 'is quiet', 'fails at once', 'garbles its report'] as const
export type Trouble = (typeof TROUBLES)[number]

/** What the commands of a task do: at so many starts there is trouble, and then it takes its time and is done. */
export interface Work {
  readonly trouble: Trouble | null
  readonly times: number
  readonly ms: number
}

/** It never goes well. */
const ALWAYS = 1_000

/** How often there is trouble, for work of each kind. */
const TIMES: Readonly<Record<Trouble, readonly number[]>> = {
  'kills its worker': [1, 2, ALWAYS],
  hangs: [1],
  'is quiet': [ALWAYS],
  'fails at once': [1, ALWAYS],
  'garbles its report': [ALWAYS],
}

/** So many tasks of a hundred are trouble. */
const SHARE = 0.12

/** `quietMs`: how long work takes on average that shows nothing. */
export function chooseWork(dice: Dice, meanMs: number, quietMs: number): Work {
  const ms = Math.round(1_000 + dice.wait(meanMs))
  if (!dice.chance(SHARE)) return { trouble: null, times: 0, ms }
  const trouble = dice.pick(TROUBLES)
  return { trouble, times: dice.pick(TIMES[trouble]), ms: trouble === 'is quiet' ? Math.round(dice.wait(quietMs)) : ms }
}

/** Whether it takes many pauses, or a long look, until it ends. */
export function isSlow({ trouble }: Work): boolean {
  return trouble === 'kills its worker' || trouble === 'hangs'
}

/** Whether a task fails wherever and however often it is begun. */
export function isHopeless(task: Pick<Task, 'description'>): boolean {
  const { trouble, times } = workOf(task)
  return trouble === 'fails at once' && times === ALWAYS
}

/** A task says what it does, so that whoever starts it and whoever judges it know. */
export function describe({ trouble, times, ms }: Work): string {
  return `${trouble === null ? '' : `${trouble} ${times} times, then `}works for ${ms} ms`
}

const DESCRIPTION = /^(?:(.+) (\d+) times, then )?works for (\d+) ms$/

export function workOf({ description }: Pick<Task, 'description'>): Work {
  const [, trouble, times, ms] = DESCRIPTION.exec(description) ?? []
  return { trouble: TROUBLES.find((each) => each === trouble) ?? null, times: Number(times ?? 0), ms: Number(ms) }
}

/** The trouble that the present start of a task is; null where it does its work. */
export function troubleOf(task: Pick<Task, 'description' | 'attempts'>): Trouble | null {
  const { trouble, times } = workOf(task)
  return task.attempts.length <= times ? trouble : null
}

/** A situation of a fleet, what it is in truth, and what must follow: the truth is said here, and not by the code. */

/**
 * `healthy`: work goes on, or goes on by itself; `stuck`: work stands still; `place`: an agent's place cannot do it; `parked`: it may
 * not for a while; `lost`: an agent or its host is; `poison`: the task itself is to blame; `waiting`: a person is to answer.
 */
export const LABELS = ['healthy', 'stuck', 'place', 'parked', 'lost', 'poison', 'waiting'] as const
export type Label = (typeof LABELS)[number]

/** What was seen to happen, milliseconds after the situation began. */
export interface Happening {
  readonly at: number
  /** A kind, and what it is about: `moved t stalled`. */
  readonly what: string
  /** What people are told, where they are. */
  readonly words: string
}

/** What must follow, and when; what must not follow is all else that is worth a demand. */
export interface Demand {
  readonly what: string
  readonly from: number
  readonly to: number
  /** What people must be told by it. */
  readonly says?: RegExp
  /** It may also not happen. */
  readonly isOptional?: boolean
}

export interface Situation {
  readonly title: string
  readonly label: Label
  /** Plays it until all that is demanded has happened, or its time is over. */
  play(follows: readonly Demand[]): Promise<readonly Happening[]>
  readonly follows: readonly Demand[]
  /** Why the code fails here, where it is known to. */
  readonly known?: string
}

export interface Verdict {
  readonly happenings: readonly Happening[]
  /** What did not follow, and what followed that should not; empty where all is well. */
  readonly faults: readonly string[]
}

/** It must happen within this time. */
export function must(what: string, from: number, to: number, says?: RegExp): Demand {
  return { what, from, to, ...(says === undefined ? {} : { says }) }
}

/** It may happen, whenever. */
export function may(what: string): Demand {
  return { what, from: 0, to: Number.POSITIVE_INFINITY, isOptional: true }
}

/** What happens to healthy work as well: it begins, ends, is given out, and what was told is over. */
const HARMLESS = /^(?:begun|completed|assigned|reminded|over|stopped) /

export function judge({ follows }: Pick<Situation, 'follows'>, happenings: readonly Happening[]): Verdict {
  const taken = new Set<Happening>()
  const missed = follows.flatMap((demand) => {
    const found = happenings.find((each) => !taken.has(each) && meets(each, demand))
    if (found !== undefined) taken.add(found)
    return found === undefined && demand.isOptional !== true ? [missing(demand, happenings)] : []
  })
  const unwanted = happenings.filter((each) => !taken.has(each) && !HARMLESS.test(each.what))
  return { happenings, faults: [...missed, ...unwanted.map(({ what, at }) => `${what} after ${inSeconds(at)}`)] }
}

/** Whether everything that is demanded has happened. */
export function isFulfilled(follows: readonly Demand[], happenings: readonly Happening[]): boolean {
  return judge({ follows }, happenings).faults.every((fault) => !fault.startsWith(NOT))
}

function meets({ what, at, words }: Happening, demand: Demand): boolean {
  return what === demand.what && at >= demand.from && at <= demand.to && (demand.says?.test(words) ?? true)
}

const NOT = 'not: '

function missing({ what, from, to, says }: Demand, happenings: readonly Happening[]): string {
  const window = Number.isFinite(to) ? ` between ${inSeconds(from)} and ${inSeconds(to)}` : ''
  const same = happenings.find((each) => each.what === what)
  const isWorded = same === undefined || says === undefined || says.test(same.words)
  const found = same === undefined ? '' : `, but after ${inSeconds(same.at)}${isWorded ? '' : `: ${same.words}`}`
  return `${NOT}${what}${window}${found}`
}

export function inSeconds(ms: number): string {
  const seconds = ms / 1_000
  if (seconds < 120) return `${Number(seconds.toFixed(seconds < 1 ? 2 : 1))} s`
  return seconds < 7_200 ? `${Number((seconds / 60).toFixed(1))} min` : `${Number((seconds / 3_600).toFixed(1))} h`
}

import type { ClientActivity } from './client-activity.ts'
import type { SessionId } from './session-id.ts'
import type { StoreTrouble } from './store-trouble.ts'

/** A heartbeat of one session's host. It carries no time: silence is measured by the observer's clock. */
export interface Beat {
  readonly session: SessionId
  readonly host: string
  /** One run of the daemon that beats; a restart is a new one. */
  readonly incarnation: string
  /** Rises with every beat of one incarnation. */
  readonly seq: number
  /** Rises when the agent itself made progress; independent of `seq`. */
  readonly work: number
  /** Where it beats from (`spool/place.ts`). Older hosts do not say it. */
  readonly place?: string
  /** What the agent's client does, as far as this host knows. */
  readonly activity?: ClientActivity
}

/** What a host says to a bridge that knows no activities. */
export function withoutActivity({ activity: _, ...beat }: Beat): Beat {
  return beat
}

/** The incarnation of beats that foreign writers left: they do not say who they are, or when they restart. */
export const FOREIGN_INCARNATION = 'python'

/** A beat as an observer reads it back. */
export interface ObservedBeat extends Beat {
  /** Rises with every change of any beat in the store: the cursor of those who read them. */
  readonly version: number
}

/** A session that two places spoke for at the same time, by the hosts that they beat from. */
export interface Contest {
  readonly session: SessionId
  /** The host that speaks for it. */
  readonly heard: string
  /** The host that was refused. */
  readonly refused: string
  /** Rises whenever it is so. */
  readonly times: number
}

/** What changed since a cursor. */
export interface ObservedBeats {
  readonly pulses: readonly ObservedBeat[]
  /** All sessions that were ever contested, whatever the cursor. Older stores do not say it. */
  readonly contests?: readonly Contest[]
  readonly cursor: number
  /** Changes while beats are collected. An observer who sees it unchanged is blind, and must judge no agent. */
  readonly tick: string
  /** What keeps whoever collects beats from writing to the database. Older stores do not say it. */
  readonly trouble?: StoreTrouble | null
}

import type { SessionId } from './session.ts'

/** "This host lives", said for one session. Carries no time: silence is judged by the observer's clock. */
export interface Beat {
  readonly session: SessionId
  readonly host: string
  /** One life of the daemon that beats; a restart is a new one. */
  readonly incarnation: string
  /** Rises with every beat of one incarnation. */
  readonly seq: number
  /** Rises when the agent itself made progress: another clock than `seq`, never mixed up with it. */
  readonly work: number
}

/** The life that beats for all foreign writers of a session: who they are, and when they start anew, they do not say. */
export const FOREIGN_LIFE = 'python'

/** A beat as an observer reads it back. */
export interface ObservedBeat extends Beat {
  /** Rises with every change of any pulse in the store: the cursor of whoever reads them. */
  readonly version: number
}

/** What changed since a cursor. */
export interface ObservedBeats {
  readonly pulses: readonly ObservedBeat[]
  readonly cursor: number
  /** Changes while somebody collects beats. An observer who sees it stand still is blind and must judge nobody. */
  readonly tick: string
}

import type { Usage } from '#fleet/usage.ts'
import type { FolderTrust } from './folder-trust.ts'

/** How one client is driven: what is started, and what is said to it and heard from it, one JSON text a line. */
export interface ClientDriver {
  /**
   * The program and its arguments. `resumed`: the client's session that is to go on; null begins one. `dollars`: what it may use where
   * it counts that itself; null: whatever it needs. Never the text of a task. `isTrusted` as of `TalkParts`.
   */
  argv(resumed: string | null, dollars: number | null, isTrusted: boolean): readonly [string, ...string[]]
  /** Whether its user trusts what lies in a folder. */
  readonly trusts: FolderTrust
  talk(parts: TalkParts): ClientTalk
}

export interface TalkParts {
  /** What the client is told: the task in words. */
  readonly prompt: string
  readonly resumed: string | null
  /** The folder that it works in. */
  readonly folder: string
  /** Whether the client may do what files of the folder say: its user has told it to trust the folder. */
  readonly isTrusted: boolean
  /** Milliseconds since 1970, by which a client's words on times are read. */
  now(): number
  send(message: object): void
  /** Shows people a line of what it says or does. */
  show(line: string): void
  /** The client has made progress. */
  noteWork(): void
  /** The client's session has this id. */
  noteSession(id: string): void
  /** The last word was said: nothing more comes. */
  finish(): void
}

/** One talk with a client, from its start to its result. */
export interface ClientTalk {
  begin(): void
  /** Takes in a line that the client printed, parsed. */
  hear(message: unknown): void
  /** Asks the client to leave its turn. */
  interrupt(): void
  /** Whether a tool runs at this moment, whose silence says nothing. */
  readonly runsTool: boolean
  readonly usage: Usage
  /** What the client said of its end; null as long as it has said nothing. */
  readonly ending: ClientEnding | null
}

/** How a talk ended, by the client's own words and codes. */
export type ClientEnding =
  | { readonly is: 'done'; readonly text: string }
  /** The client answered, and the task is not done. */
  | { readonly is: 'failed'; readonly why: string }
  /** The client cannot work, or may not for a while, whatever the task is. `until`: milliseconds since 1970. */
  | { readonly is: 'sick' | 'parked'; readonly why: string; readonly until: number | null }
  /** It used as many dollars as it may. */
  | { readonly is: 'budget' }
  /** The session that was to go on is not there any more. */
  | { readonly is: 'no_session' }

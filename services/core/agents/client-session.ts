import type { ClientActivity } from '#fleet/client-activity.ts'
import type { SessionId } from '#fleet/session-id.ts'
import type { KnownProcess } from '#runtime/process-life.ts'
import { nameOfFile } from '#spool/name-of-file.ts'

/** The clients of agents that S2 knows by name. */
export const CLIENTS = ['claude', 'codex', 'gemini', 'opencode'] as const
export type Client = (typeof CLIENTS)[number]

/** What keepalive may be kept from seeing of a client: the files where the client keeps what it does, or its process. */
export const UNSEEN = ['files', 'process'] as const
export type Unseen = (typeof UNSEEN)[number]

/** What tells a session of a client from all others. */
export type NamedClientSession = Pick<ClientSession, 'client' | 'id'>

/** Its name in files and lists. */
export function clientSessionName({ client, id }: NamedClientSession): string {
  return nameOfFile(client, id)
}

/** A session of a client on this host, from its first hook to its end: one conversation of a person or a program with a model. */
export interface ClientSession {
  readonly client: Client
  /** The id that the client gives it: Claude Code's session id, Codex's thread id. */
  readonly id: string
  /** The session of the fleet that it works for; null where the host has several and nobody said which. */
  readonly session: SessionId | null
  /** Null until a hook that runs as a child of the client has told. */
  readonly process: KnownProcess | null
  /** The process is a daemon's, which holds sessions of several terminals, and outlives these. Its own environment and pane are one terminal's at most. */
  readonly sharesProcess: boolean
  readonly folder: string
  readonly transcript: string | null
  readonly version: string | null
  /** As the client calls it, e.g. `default`, `bypassPermissions`. */
  readonly permissionMode: string | null
  /** The socket that Claude Code reads messages from; null for other clients. */
  readonly inboxSocket: string | null
  /** The pane of a terminal multiplexer that it runs in. */
  readonly pane: { readonly socket: string; readonly id: string } | null
  readonly activity: ClientActivity
  /** Since when it does that, and when an event was heard or its tool was seen at work: milliseconds since 1970 by this host's clock. */
  readonly since: number
  readonly heardAt: number
  /** Rises with each sign that the agent makes progress. */
  readonly signs: number
  readonly unseen: readonly Unseen[]
  /** The wakes whose text was seen to arrive, the newest last. */
  readonly wakesRead: readonly string[]
}

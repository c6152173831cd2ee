import type { StoredMessage } from '#fleet/message.ts'
import type { SessionId } from '#fleet/session-id.ts'
import type { FoundCredentials } from '#spool/credentials.ts'
import type { InboxFolder, Placed } from '#spool/inbox.ts'
import type { OutboxItem, OutboxProblem } from '#spool/outbox.ts'

/** The host's inbox, as far as messages are put in and acks are read off it. `Inbox` is one; so is a simulated one. */
export interface InboxPort {
  /** Changes when a name in this folder comes or goes. Left out: nobody knows, and every scan reads the folder. */
  version?(folder: InboxFolder): string
  putAll(messages: readonly StoredMessage[]): Promise<readonly Placed[]>
  list(folder: InboxFolder): Promise<readonly number[]>
  /** Reads many messages of a folder. Left out: each is inspected. */
  readAll?(
    folder: InboxFolder,
    ids: readonly number[],
  ): AsyncIterable<readonly [id: number, message: StoredMessage | null]>
  inspect(id: number): Promise<StoredMessage | null>
  forget(ids: readonly number[]): Promise<void>
  recover(): Promise<void>
  tidy(): Promise<void>
}

/** The host's outbox, as far as its items are sent. `Outbox` is one. */
export interface OutboxPort {
  /** Changes when an item comes or leaves. */
  version?(): string
  names(): Promise<readonly string[]>
  read(name: string): Promise<OutboxItem | null>
  done(name: string): Promise<void>
  refuse(name: string, problem: OutboxProblem): Promise<void>
  /** `wall`: milliseconds since 1970. */
  tidy(wall: number): Promise<void>
}

/** The host's credentials. */
export interface CredentialsPort {
  read(): Promise<FoundCredentials>
  noteRenewal(session: SessionId, expiresAt: number): Promise<void>
}

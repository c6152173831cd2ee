import { type Credential, isSameCredential } from '#fleet/credential.ts'
import { type Code, S2Error } from '#fleet/errors.ts'
import type { HostIdentity } from '#identity/identity-file.ts'
import { OlderCredential } from '#identity/sealed-credential.ts'
import { LATE, waitAtMost } from '#runtime/bounded-wait.ts'
import type { Clock } from '#runtime/clock.ts'
import type { CredentialSource, SourceQuery } from './credential-source.ts'

/** The credentials of this host, each a file that appears by one atomic rename. */
export interface CredentialFolder {
  read(): Promise<readonly Credential[]>
  publish(credential: Credential): Promise<void>
  remove(credential: Credential): Promise<void>
}

/** Where a host that has joined looks; null where there is no such place. */
export interface CredentialSources {
  readonly git: CredentialSource | null
  readonly bridge: CredentialSource
}

export interface CredentialSyncParts {
  /** The file with the keys of this host. */
  readonly keysFile: string
  /** What it holds, read anew for each look; null until this host has joined. */
  identity(): Promise<HostIdentity | null>
  sources(identity: HostIdentity): CredentialSources
  readonly credentials: CredentialFolder
  readonly clock: Clock
}

/** What one look came to. */
export type SyncOutcome =
  | { readonly kind: 'unchanged' }
  /** The remote has not answered yet: the next look goes on with it. */
  | { readonly kind: 'waiting' }
  | { readonly kind: 'published' }

/**
 * Looks for this host's credential, and puts a newer one in force. Whatever is wrong (remote away, branch gone, file missing,
 * hostile or malformed, older than the one in force) is thrown with its reason, and the credential in force stays.
 */
export class CredentialSync {
  readonly #parts: CredentialSyncParts
  #refusal: S2Error | null = null
  /** Looks in a row at which only the remote had no credential. */
  #lagging = 0
  /** What the remote is being asked, across looks: one that hangs must not keep this host from the bridge. */
  #asking: { readonly by: string; readonly source: CredentialSource | null; readonly answer: Promise<Found> } | null =
    null

  constructor(parts: CredentialSyncParts) {
    this.#parts = parts
  }

  /** What was refused of what the last whole look found; null where nothing was. */
  get refusal(): S2Error | null {
    return this.#refusal
  }

  async look(): Promise<SyncOutcome> {
    const identity = await this.#parts.identity()
    if (identity === null || identity.membership === null) throw notJoined(this.#parts.keysFile)
    const held = await this.#parts.credentials.read()
    const heldSerial = newestSerial(held)
    const { git, bridge } = this.#parts.sources(identity)
    const wanted = { identity, heldSerial }
    this.#ask(git, wanted)
    const fromBridge = await found(bridge, wanted)
    const before = await this.#take(fromBridge)
    const answer = await this.#answerOfRemote()
    if (answer === null) return before.kind === 'published' ? before : WAITING
    const fromGit = lagging(answer, fromBridge)
    const after = await this.#take(fromGit)
    const outcome = after.kind === 'published' ? after : before
    await this.#removeExpired(held)
    this.#refusal = [fromGit.error, fromBridge.error].find(isRefusal) ?? null
    // A remote that is wrong is told even where the bridge is right, but not while it only lags behind the bridge.
    if (fromGit.error === null) this.#lagging = 0
    else this.#lagging = fromBridge.error === null && isAbsent(fromGit.error) ? this.#lagging + 1 : LAGGING_MAX
    if (fromGit.error !== null && this.#lagging >= LAGGING_MAX) throw fromGit.error
    if (fromBridge.error !== null && (git === null || isRefusal(fromBridge.error))) throw fromBridge.error
    return outcome
  }

  /** Asks the remote, unless it is being asked. What another remote answers, or another host was told, counts no more. */
  #ask(source: CredentialSource | null, wanted: SourceQuery): void {
    const by = wanted.identity.key
    const isAsked = this.#asking?.source === source && this.#asking.by === by
    if (isAsked) return
    const former = this.#asking?.answer ?? Promise.resolve() // both may work in one folder
    this.#asking = { by, source, answer: former.then(() => found(source, wanted)) }
  }

  /** Null where it takes long. */
  async #answerOfRemote(): Promise<Found | null> {
    if (this.#asking === null) return null
    const answer = await waitAtMost(this.#asking.answer, PATIENCE_MS, this.#parts.clock)
    if (answer === LATE) return null
    this.#asking = null
    return answer
  }

  /** What was found before another source had a newer one counts no more. */
  async #take({ credential }: Found): Promise<SyncOutcome> {
    const held = await this.#parts.credentials.read()
    if (credential === null || credential.createdAt < newestSerial(held)) return UNCHANGED
    return await putInForce(credential, held, this.#parts.credentials)
  }

  /** The same for a plain file, which belongs to no keys. */
  static async put(
    source: { find(wanted: { readonly heldSerial: number }): Promise<Credential> },
    credentials: CredentialFolder,
  ): Promise<SyncOutcome> {
    const held = await credentials.read()
    return await putInForce(await source.find({ heldSerial: newestSerial(held) }), held, credentials)
  }

  /** A credential of another conversation stays until it expires: messages of it may still be under way. */
  async #removeExpired(held: readonly Credential[]): Promise<void> {
    const { credentials, clock } = this.#parts
    const newest = newestSerial(held)
    for (const each of held)
      if (each.createdAt < newest && each.expiresAt <= clock.wall()) await credentials.remove(each)
  }
}

async function putInForce(
  credential: Credential,
  held: readonly Credential[],
  credentials: CredentialFolder,
): Promise<SyncOutcome> {
  if (credential.createdAt < newestSerial(held)) {
    throw new S2Error('conflict', 'an older credential was found than the one in force', {
      next: 'publish a new one; an old one is never taken again',
    })
  }
  const former = held.find((each) => each.session === credential.session)
  if (former !== undefined && isSameCredential(former, credential)) return UNCHANGED
  await credentials.publish(credential)
  return PUBLISHED
}

/** From so many on, a remote without a credential does not only lag. */
const LAGGING_MAX = 2

/** What somebody made, or keeps from being right; what may pass by itself, and what is not there, is not refused. */
const REFUSALS: ReadonlySet<Code> = new Set([
  'unauthenticated',
  'forbidden',
  'conflict',
  'expired',
  'too_large',
  'invalid',
])

function isRefusal(error: unknown): error is S2Error {
  return error instanceof S2Error && REFUSALS.has(error.code)
}

/** A remote that has what the bridge had before lacks the newest one. Only where the bridge is away an older one is refused. */
function lagging(fromGit: Found, fromBridge: Found): Found {
  if (!(fromGit.error instanceof OlderCredential) || fromBridge.error !== null) return fromGit
  const error = new S2Error('not_found', 'the remote has an older credential than the bridge', {
    next: 'the one of the bridge is in force; see s2 health cred-sync on the orchestrator’s host',
  })
  return { credential: null, error }
}

function isAbsent(error: unknown): boolean {
  return error instanceof S2Error && error.code === 'not_found'
}

const UNCHANGED: SyncOutcome = { kind: 'unchanged' }
const WAITING: SyncOutcome = { kind: 'waiting' }
const PUBLISHED: SyncOutcome = { kind: 'published' }

/** How long a look waits for the remote, beside the bridge. */
const PATIENCE_MS = 10_000

interface Found {
  readonly credential: Credential | null
  readonly error: unknown
}

async function found(source: CredentialSource | null, wanted: SourceQuery): Promise<Found> {
  if (source === null) return { credential: null, error: null }
  try {
    return { credential: await source.find(wanted), error: null }
  } catch (error) {
    return { credential: null, error }
  }
}

function newestSerial(held: readonly Credential[]): number {
  return held.reduce((latest, { createdAt }) => Math.max(latest, createdAt), 0)
}

function notJoined(keysFile: string): S2Error {
  return new S2Error('not_found', `this host has not joined a fleet: there are no keys of a worker in ${keysFile}`, {
    next: 'on the orchestrator’s host: s2 worker invite <number> --role <role>; here: s2 worker join, and paste the line that it prints; keys that were prepared are the file that S2_IDENTITY names',
  })
}

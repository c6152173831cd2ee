import {
  CREDENTIAL_FILE_MAX,
  type Credential,
  credentialPath,
  parseCredentialFile,
  workerName,
} from '#fleet/credential.ts'
import { S2Error } from '#fleet/errors.ts'
import type { Clock } from '#runtime/clock.ts'
import type { GitMirror } from './git-mirror.ts'

/** Where the credentials of this host are published, by one atomic rename each. */
export interface CredentialPlace {
  read(): Promise<readonly Credential[]>
  publish(credential: Credential): Promise<void>
  remove(credential: Credential): Promise<void>
}

export interface CredentialSyncParts {
  readonly mirror: Pick<GitMirror, 'tip' | 'fetch' | 'file'>
  readonly shelf: CredentialPlace
  readonly clock: Clock
}

/** What one look at the remote came to. */
export type SyncOutcome =
  | { readonly kind: 'unchanged' }
  | { readonly kind: 'published'; readonly credential: Credential; readonly commit: string }

/**
 * Asks the remote, and publishes this worker's credential when there is a newer one. Whatever is wrong (remote away,
 * branch gone, file missing, hostile or malformed, older than the one in force) throws with its reason, and the
 * credential at hand stays as it is.
 */
export class CredentialSync {
  readonly #worker: number
  readonly #parts: CredentialSyncParts
  /** The tip whose credential is on the shelf; asked again while it does not yield a good one. */
  #settled: string | null = null

  constructor(worker: number, parts: CredentialSyncParts) {
    this.#worker = worker
    this.#parts = parts
  }

  async look(): Promise<SyncOutcome> {
    const { mirror, clock } = this.#parts
    const tip = await mirror.tip()
    if (tip === null) throw gone('the remote has no such branch')
    const held = await this.#parts.shelf.read()
    if (
      tip === this.#settled &&
      held.some((each) => each.agent === workerName(this.#worker) && each.expiresAt > clock.wall())
    ) {
      return { kind: 'unchanged' }
    }
    const commit = await mirror.fetch()
    const path = credentialPath(this.#worker)
    const content = await mirror.file(commit, path, CREDENTIAL_FILE_MAX)
    if (content === null) throw gone(`the branch has no file ${path}`)
    const credential = parseCredentialFile(content, this.#worker, clock.wall())
    const outcome = await this.#take(credential, commit, held)
    this.#settled = commit
    return outcome
  }

  async #take(credential: Credential, commit: string, held: readonly Credential[]): Promise<SyncOutcome> {
    const { shelf, clock } = this.#parts
    const own = held.filter((each) => each.agent === credential.agent)
    const newest = own.reduce((latest, each) => Math.max(latest, each.createdAt), Number.NEGATIVE_INFINITY)
    if (credential.createdAt < newest) {
      throw new S2Error('conflict', 'the remote went back to an older credential than the one in force', {
        next: 'publish a new one; an old one is never taken again',
      })
    }
    const same = own.find((each) => each.session === credential.session)
    const changed =
      same?.token !== credential.token ||
      same.bridgeUrl !== credential.bridgeUrl ||
      same.bridgeCa !== credential.bridgeCa ||
      same.createdAt !== credential.createdAt
    if (changed) await shelf.publish(credential)
    // One of another conversation stays until it expires: its messages may still be under way.
    for (const each of own)
      if (each.session !== credential.session && each.expiresAt <= clock.wall()) await shelf.remove(each)
    return changed ? { kind: 'published', credential, commit } : { kind: 'unchanged' }
  }
}

function gone(what: string): S2Error {
  return new S2Error('not_found', what, { next: 'the credential at hand stays in force; have it published again' })
}

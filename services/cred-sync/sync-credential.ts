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

/** The credentials of this host, each a file that appears by one atomic rename. */
export interface CredentialFolder {
  read(): Promise<readonly Credential[]>
  publish(credential: Credential): Promise<void>
  remove(credential: Credential): Promise<void>
}

export interface CredentialSyncParts {
  readonly mirror: Pick<GitMirror, 'tip' | 'fetch' | 'file'>
  readonly credentials: CredentialFolder
  readonly clock: Clock
}

/** What one look at the remote came to. */
export type SyncOutcome =
  | { readonly kind: 'unchanged' }
  | { readonly kind: 'published'; readonly credential: Credential; readonly commit: string }

/**
 * Asks the remote, and publishes this worker's credential when there is a newer one. Whatever is wrong (remote away,
 * branch gone, file missing, hostile or malformed, older than the one in force) is thrown with its reason, and the
 * credential in force stays.
 */
export class CredentialSync {
  readonly #worker: number
  readonly #parts: CredentialSyncParts
  /** The commit whose credential was taken; null while none yielded a good one. */
  #takenFrom: string | null = null

  constructor(worker: number, parts: CredentialSyncParts) {
    this.#worker = worker
    this.#parts = parts
  }

  async look(): Promise<SyncOutcome> {
    const { mirror, clock } = this.#parts
    const tip = await mirror.tip()
    if (tip === null) throw absent('the remote has no such branch')
    const held = await this.#parts.credentials.read()
    if (
      tip === this.#takenFrom &&
      held.some((each) => each.agent === workerName(this.#worker) && each.expiresAt > clock.wall())
    ) {
      return { kind: 'unchanged' }
    }
    const commit = await mirror.fetch()
    const path = credentialPath(this.#worker)
    const content = await mirror.file(commit, path, CREDENTIAL_FILE_MAX)
    if (content === null) throw absent(`the branch has no file ${path}`)
    const credential = parseCredentialFile(content, this.#worker, clock.wall())
    const outcome = await this.#publish(credential, commit, held)
    this.#takenFrom = commit
    return outcome
  }

  async #publish(credential: Credential, commit: string, held: readonly Credential[]): Promise<SyncOutcome> {
    const { credentials, clock } = this.#parts
    const own = held.filter((each) => each.agent === credential.agent)
    const newest = own.reduce((latest, each) => Math.max(latest, each.createdAt), Number.NEGATIVE_INFINITY)
    if (credential.createdAt < newest) {
      throw new S2Error('conflict', 'the remote went back to an older credential than the one in force', {
        next: 'publish a new one; an old one is never taken again',
      })
    }
    const former = own.find((each) => each.session === credential.session)
    const isChanged =
      former?.token !== credential.token ||
      former.bridgeUrl !== credential.bridgeUrl ||
      former.bridgeCa !== credential.bridgeCa ||
      former.createdAt !== credential.createdAt
    if (isChanged) await credentials.publish(credential)
    // A credential of another conversation stays until it expires: messages of it may still be under way.
    for (const each of own)
      if (each.session !== credential.session && each.expiresAt <= clock.wall()) await credentials.remove(each)
    return isChanged ? { kind: 'published', credential, commit } : { kind: 'unchanged' }
  }
}

function absent(what: string): S2Error {
  return new S2Error('not_found', what, { next: 'the credential in force stays; have a new one published' })
}

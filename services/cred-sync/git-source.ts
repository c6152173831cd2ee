import { CREDENTIAL_FILE_MAX, type Credential } from '#fleet/credential.ts'
import { S2Error } from '#fleet/errors.ts'
import { fingerprint } from '#fleet/identity.ts'
import type { GitMirror } from '#git/git-mirror.ts'
import { MANIFEST_MAX, MANIFEST_PATH, type Manifest, readManifest, sha256Of } from '#identity/manifest.ts'
import { CLOCK_TOLERANCE_MS, openSealedCredential } from '#identity/sealed-credential.ts'
import type { Clock } from '#runtime/clock.ts'
import type { CredentialSource, SourceQuery } from './credential-source.ts'

/** How long a commit stays refused: what was lacking may have been memory of this host. */
const REFUSED_MS = 600_000

export interface GitSourceParts {
  readonly mirror: Pick<GitMirror, 'tip' | 'fetch' | 'file'>
  readonly clock: Clock
}

/** The credential that the remote has for this host: the list of credentials names its file, by this host's key. */
export class GitSource implements CredentialSource {
  readonly #parts: GitSourceParts
  /** What was found last; it may not have come in force: a full disk takes none. */
  #found: { readonly tip: string; readonly key: string; readonly serial: number } | null = null
  #manifestSerial = 0
  /** The commit that was refused for its size or form: fetching it costs seconds of a processor, and ends in the same way. */
  #refused: { readonly tip: string; readonly error: S2Error; readonly until: number } | null = null

  constructor(parts: GitSourceParts) {
    this.#parts = parts
  }

  async find(wanted: SourceQuery): Promise<Credential | null> {
    const { mirror, clock } = this.#parts
    const tip = await mirror.tip()
    if (tip === null) throw absent('the remote has no such branch')
    if (this.#isInForce(tip, wanted)) return null
    const commit = await this.#fetch(tip)
    const entry = await this.#entryIn(commit, wanted)
    const content = await mirror.file(commit, entry.path, CREDENTIAL_FILE_MAX)
    if (content === null) throw absent(`the branch lacks ${entry.path}, which its list names`)
    if (sha256Of(content) !== entry.sha256)
      throw new S2Error('unauthenticated', `${entry.path} is not the file that the list of credentials names`, {
        next: 'see who writes to the remote; the credential in force stays',
      })
    const credential = await openSealedCredential(content, { ...wanted, now: clock.wall() })
    this.#found = { tip, key: wanted.identity.key, serial: credential.createdAt }
    return credential
  }

  /** Whether what this commit has for these keys was found, and is held or was replaced. */
  #isInForce(tip: string, { identity, heldSerial }: SourceQuery): boolean {
    const found = this.#found
    return found !== null && found.tip === tip && found.key === identity.key && found.serial <= heldSerial
  }

  async #fetch(tip: string): Promise<string> {
    const { mirror, clock } = this.#parts
    if (this.#refused?.tip === tip && clock.now() < this.#refused.until) throw this.#refused.error
    try {
      return await mirror.fetch(tip)
    } catch (error) {
      const isRefused = error instanceof S2Error && (error.code === 'too_large' || error.code === 'invalid')
      if (isRefused) this.#refused = { tip, error, until: clock.now() + REFUSED_MS }
      throw error
    }
  }

  async #entryIn(commit: string, { identity }: SourceQuery): Promise<Manifest['files'][number]> {
    const { mirror, clock } = this.#parts
    const content = await mirror.file(commit, MANIFEST_PATH, MANIFEST_MAX)
    if (content === null) throw absent(`the branch has no ${MANIFEST_PATH}`)
    const manifest = readManifest(content, identity.membership?.orchestrator.key ?? '')
    if (manifest.serial < this.#manifestSerial || manifest.serial > clock.wall() + CLOCK_TOLERANCE_MS)
      throw new S2Error(
        'conflict',
        `the list of credentials is of ${new Date(manifest.serial).toISOString()}, which is too old or in the future`,
        {
          next: 'see who writes to the remote, and compare the clocks; the credential in force stays',
        },
      )
    this.#manifestSerial = manifest.serial
    const entry = manifest.files.find(({ key }) => key === identity.key)
    if (entry !== undefined) return entry
    throw absent(
      `the list of credentials has none for the key of this host (${fingerprint(identity.key)}): it was revoked, or waits to be admitted`,
    )
  }
}

function absent(what: string): S2Error {
  return new S2Error('not_found', what, {
    next: 'the credential in force stays; `s2 worker list` on the orchestrator’s host shows the workers',
  })
}

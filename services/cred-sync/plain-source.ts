import {
  CREDENTIAL_FILE_MAX,
  type Credential,
  credentialPath,
  parseCredentialFile,
  workerName,
} from '#fleet/credential.ts'
import { S2Error } from '#fleet/errors.ts'
import type { GitMirror } from '#git/git-mirror.ts'
import type { Clock } from '#runtime/clock.ts'

/** The plain file of the older scripts, which anybody who reads the remote can use: read only where that is allowed. */
export class PlainSource {
  readonly #worker: string
  readonly #mirror: Pick<GitMirror, 'tip' | 'fetch' | 'file'>
  readonly #clock: Clock

  constructor(worker: number, mirror: Pick<GitMirror, 'tip' | 'fetch' | 'file'>, clock: Clock) {
    this.#worker = workerName(worker)
    this.#mirror = mirror
    this.#clock = clock
  }

  async find({ heldSerial }: { readonly heldSerial: number }): Promise<Credential> {
    const tip = await this.#mirror.tip()
    if (tip === null) throw absent('the remote has no such branch')
    const path = credentialPath(this.#worker)
    const content = await this.#mirror.file(await this.#mirror.fetch(tip), path, CREDENTIAL_FILE_MAX)
    if (content === null) throw absent(`the branch has no file ${path}`)
    const credential = parseCredentialFile(content, this.#worker, this.#clock.wall())
    if (credential.createdAt >= heldSerial) return credential
    throw new S2Error('conflict', 'the remote went back to an older credential than the one in force', {
      next: 'publish a new one; an old one is never taken again',
    })
  }
}

function absent(what: string): S2Error {
  return new S2Error('not_found', what, { next: 'the credential in force stays; have a new one published' })
}

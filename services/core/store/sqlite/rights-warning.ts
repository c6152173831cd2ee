import type { StoreParts } from '../store.ts'
import { type DatabasePath, logBytes } from './file/database-path.ts'
import { isOpenToAll } from './file/shared-rights.ts'

/**
 * Warns of a database that everybody on its host may read, which Python makes under the usual umask: the tokens of all agents lie in
 * it as they are. S2 does not change the rights of a file that another program made.
 */
export class RightsWarning {
  readonly #place: DatabasePath
  readonly #onWarning: NonNullable<StoreParts['onWarning']>
  #isTold = false

  constructor(place: DatabasePath, { onWarning = () => undefined }: Pick<StoreParts, 'onWarning'>) {
    this.#place = place
    this.#onWarning = onWarning
  }

  look(): void {
    const { path, liveness } = this.#place
    const isOpen = isOpenToAll(path) || (logBytes(path) > 0 && isOpenToAll(`${path}-wal`))
    if (isOpen === this.#isTold) return
    this.#isTold = isOpen
    const message = `everybody on this host may read the database ${path}, and the tokens of all agents in it`
    const next = `chmod 660 ${path}* ${liveness}*, or 600 where no group shares it`
    this.#onWarning('rights', isOpen ? { kind: 'rights', message, next } : null)
  }
}

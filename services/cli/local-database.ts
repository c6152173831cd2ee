import { join } from 'node:path'
import type { CommandContext } from '#console/context.ts'
import { commandEnv } from '#console/state-folder.ts'
import { S2Error } from '#fleet/errors.ts'
import { type Env, readSettings } from '#runtime/read-settings.ts'
import { servedStore } from '#spool/served-store.ts'
import { databaseIn } from '#store/open-store.ts'

/** The database of this host, and where and for how long its backups are kept. */
export interface LocalDatabase {
  readonly database: string
  readonly folder: string
  readonly keep: number
  readonly keepForMs: number
}

export function localDatabase(context: CommandContext): LocalDatabase {
  const env = commandEnv(context)
  const settings = readSettings(env, ['S2_STATE', 'S2_BACKUPS', 'S2_BACKUP_KEEP', 'S2_BACKUP_KEEP_FOR'])
  return {
    database: databasePath(env),
    folder: settings.S2_BACKUPS ?? join(settings.S2_STATE, 'backups'),
    keep: settings.S2_BACKUP_KEEP,
    keepForMs: settings.S2_BACKUP_KEEP_FOR,
  }
}

/**
 * The path of this host's database, as S2_STORE names it, else as its bridge served it last; whether it exists or not. Throws
 * `invalid` for a store elsewhere.
 */
export function databasePath(env: Env): string {
  const { S2_STATE: state, S2_STORE: url = servedStore(state) } = readSettings(env, ['S2_STATE', 'S2_STORE'])
  const database = databaseIn(url)
  if (database !== null) return database
  throw new S2Error('invalid', `S2_STORE=${url} is not a database of this host`, {
    next: 'run this on the host that has it, with S2_STORE=sqlite:/path or left out',
  })
}

import { join } from 'node:path'
import { S2Error } from '#fleet/errors.ts'
import { readSettings } from '#runtime/config.ts'
import { localStore } from '#runtime/settings.ts'
import type { Shell } from './shell.ts'
import { commandEnv } from './state.ts'

/** The database of this host, and where and for how long its backups are kept. */
export interface LocalDatabase {
  readonly database: string
  readonly folder: string
  readonly keep: number
  readonly keepForMs: number
}

export function localDatabase(shell: Shell): LocalDatabase {
  const settings = readSettings(commandEnv(shell), [
    'S2_STATE',
    'S2_STORE',
    'S2_BACKUPS',
    'S2_BACKUP_KEEP',
    'S2_BACKUP_KEEP_FOR',
  ])
  const url = settings.S2_STORE ?? localStore(settings.S2_STATE)
  if (!url.startsWith('sqlite:')) {
    throw new S2Error('invalid', `S2_STORE=${url} is no database of this host`, {
      next: 'run this on the host that has it, with S2_STORE=sqlite:/path or left out',
    })
  }
  return {
    database: url.slice('sqlite:'.length),
    folder: settings.S2_BACKUPS ?? join(settings.S2_STATE, 'backups'),
    keep: settings.S2_BACKUP_KEEP,
    keepForMs: settings.S2_BACKUP_KEEP_FOR,
  }
}

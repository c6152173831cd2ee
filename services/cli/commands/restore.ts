import { basename } from 'node:path'
import type { Command } from 'commander'
import type { CommandContext } from '#console/context.ts'
import { UsageError } from '#console/failure.ts'
import { commandEnv } from '#console/state-folder.ts'
import { ago, counted } from '#console/terminal-text.ts'
import { type RestoreSigner, restoreSigner } from '#fleet/audit-restore.ts'
import { S2Error } from '#fleet/errors.ts'
import { identityFile, readIdentity } from '#identity/identity-file.ts'
import { readSettings } from '#runtime/read-settings.ts'
import { listBackups, madeAtOf } from '#store/sqlite/backup/backup.ts'
import type { Loss } from '#store/sqlite/backup/carry-over-counters.ts'
import { type Restored, restoreDatabase } from '#store/sqlite/backup/restore.ts'
import { roomIn } from '#store/sqlite/file/disk-room.ts'
import { type LocalDatabase, localDatabase } from '../local-database.ts'
import { pathOf, proofInWords } from './backup.ts'

const EXAMPLES = `
Examples:
  sudo systemctl stop s2-bridge s2-watchdog s2-fs-watcher
  sudo s2 restore --latest
  s2 restore bridge-20261121T031700.000Z.db

It is refused while any program has the database open. The present database is kept beside it under another name.`

interface Options {
  readonly latest?: true
  readonly json?: true
}

export function define(command: Command, context: CommandContext): void {
  command
    .argument('[file]', 'the backup: a path, or a name that `s2 backup list` shows')
    .option('--latest', 'the newest backup')
    .option('--json', 'print JSON')
    .addHelpText('after', EXAMPLES)
    .action(async (file: string | undefined, options: Options) => await restore(context, file, options))
}

async function restore(context: CommandContext, file: string | undefined, { latest, json }: Options): Promise<void> {
  const local = localDatabase(context)
  if ((file === undefined) === (latest === undefined)) {
    throw new UsageError('missing the name of a backup', 'name one that `s2 backup list` shows, or --latest')
  }
  const backup = file === undefined ? newest(local) : pathOf(file, local)
  const { clock, chance } = context
  const began = clock.now()
  const { sign, missing } = await signerAtHand(context)
  const restored = await restoreDatabase({ backup, database: local.database }, { clock, chance, roomIn, sign })
  const seconds = (clock.now() - began) / 1000
  const madeAt = madeAtOf(backup) ?? clock.wall()
  if (json === true) {
    const { proof, ...rest } = restored
    const made = new Date(madeAt).toISOString()
    context.print(
      `${JSON.stringify({ backup, madeAt: made, ...rest, ...proof, unsigned: missing, seconds }, null, 2)}\n`,
    )
    return
  }
  for (const line of missing === null ? [] : unsignedInWords(missing)) context.tell(line)
  const age = ago(clock.wall() - madeAt)
  context.print(
    [
      `${restored.database} is restored from ${basename(backup)}, made ${age} ago, in ${seconds.toFixed(1)} s`,
      `  ${proofInWords(restored.proof)}`,
      `  ${goneInWords(restored)}`,
      ...(restored.kept === null ? [] : [`  the previous database is kept: ${restored.kept}`]),
      '  next: start what was stopped, e.g. systemctl start s2-bridge s2-watchdog',
      '',
    ].join('\n'),
  )
}

interface SignerAtHand {
  readonly sign: RestoreSigner | null
  /** Why there is none; null where there is one. */
  readonly missing: string | null
}

/** The orchestrator's key. Keys that are lost or damaged are no reason not to go back. */
async function signerAtHand(context: CommandContext): Promise<SignerAtHand> {
  const path = identityFile(readSettings(commandEnv(context), ['S2_STATE']).S2_STATE)
  try {
    const identity = await readIdentity(path)
    if (identity?.membership === null) return { sign: restoreSigner(identity), missing: null }
    return { sign: null, missing: `the orchestrator's keys are not in ${path}` }
  } catch (error) {
    return { sign: null, missing: (error as Error).message }
  }
}

function newest({ folder, database }: LocalDatabase): string {
  const [first] = listBackups(folder, database)
  if (first !== undefined) return first.path
  throw new S2Error('not_found', `there are no backups of ${database} in ${folder}`, {
    next: 'name a file, or set S2_BACKUPS to their folder',
  })
}

function goneInWords({ loss, kept }: Restored): string {
  if (loss !== null) return lossInWords(loss)
  if (kept === null) return 'there was no database here before'
  return 'the previous database cannot be read, so what is gone is unknown: rotate the tokens that were issued since the backup'
}

function unsignedInWords(missing: string): string[] {
  return [
    `s2: the restore is not signed: ${missing}\n`,
    '  heads of the audit trail that were kept since the backup count as altered from now on\n',
  ]
}

function lossInWords({ messages, since, conversations, tasks, reopened }: Loss): string {
  const gone = [
    ...(messages === 0 ? [] : [counted(messages, 'message') + (since === null ? '' : ` (since ${instant(since)})`)]),
    ...(conversations === 0 ? [] : [counted(conversations, 'conversation')]),
    ...(tasks === 0 ? [] : [counted(tasks, 'task')]),
  ]
  const open =
    reopened === 0 ? '' : `; ${counted(reopened, 'task')} that had ended ${reopened === 1 ? 'is' : 'are'} open again`
  return `${gone.length === 0 ? 'nothing is gone' : `gone: ${gone.join(', ')}`}${open}`
}

function instant(ms: number): string {
  return new Date(ms).toISOString()
}

import { basename, join } from 'node:path'
import type { Command } from 'commander'
import type { CommandContext } from '#console/context.ts'
import { table } from '#console/table.ts'
import { ago, counted, size } from '#console/terminal-text.ts'
import { type Backup, listBackups, type MadeBackup, makeBackup } from '#store/sqlite/backup/backup.ts'
import { checkFile, type IntegrityReport } from '#store/sqlite/backup/integrity-check.ts'
import { roomIn } from '#store/sqlite/file/disk-room.ts'
import { type LocalDatabase, localDatabase } from '../local-database.ts'
import { count, duration } from '../option-parsers.ts'

const EXAMPLES = `
Examples:
  s2 backup                        makes and checks one; removes those beyond the 14 newest or older than 30 days
  s2 backup --keep 48 --keep-for 2d
  s2 backup list
  s2 backup verify bridge-20261121T031700.000Z.db

It may run while the bridge and other programs use the database. \`s2 restore\` restores a backup.`

interface Options {
  readonly to?: string
  readonly keep?: number
  readonly keepFor?: number
  readonly beats?: true
  readonly json?: true
}

export function define(command: Command, context: CommandContext): void {
  command
    .option('--to <folder>', 'folder of the backups (S2_BACKUPS)')
    .option('--keep <n>', 'how many backups are kept (S2_BACKUP_KEEP)', count)
    .option('--keep-for <duration>', 'how old backups may get (S2_BACKUP_KEEP_FOR)', duration)
    .option('--beats', 'copy the file of heartbeats too')
    .option('--json', 'print JSON')
    .addHelpText('after', EXAMPLES)
    .action(async (options: Options) => await make(context, options))
  command
    .command('list')
    .description('list the backups')
    .option('--json', 'print JSON')
    .action((_, subcommand: Command) => list(context, subcommand.optsWithGlobals<Options>()))
  command
    .command('verify <file>')
    .description('check a backup: every page, every entry of its audit chain')
    .option('--json', 'print JSON')
    .action((file: string, _, subcommand: Command) => verify(context, file, subcommand.optsWithGlobals<Options>()))
}

async function make(context: CommandContext, options: Options): Promise<void> {
  const local = localDatabase(context)
  const { clock, chance } = context
  const began = clock.now()
  const made = await makeBackup(
    {
      database: local.database,
      folder: options.to ?? local.folder,
      beats: options.beats === true ? 'too' : 'not',
      keep: options.keep ?? local.keep,
      keepForMs: options.keepFor ?? local.keepForMs,
    },
    { clock, chance, roomIn },
  )
  const seconds = (clock.now() - began) / 1000
  if (options.json === true) {
    context.print(`${JSON.stringify({ ...madeAsJson(made), seconds }, null, 2)}\n`)
    return
  }
  context.print(`${made.path}\n  ${size(made.bytes)}, ${proofInWords(made.proof)}; ${seconds.toFixed(1)} s\n`)
  if (made.removed.length > 0) context.print(`  removed: ${made.removed.map((path) => basename(path)).join(', ')}\n`)
}

function madeAsJson({ madeAt, proof, ...made }: MadeBackup): object {
  return { ...made, madeAt: new Date(madeAt).toISOString(), ...proof }
}

/** For example `1204 messages, 12 conversations, 3 tasks; schema 1, audit chain of 92 entries`. */
export function proofInWords({ rows, schema, head }: IntegrityReport): string {
  const { messages, conversations, tasks } = rows
  const counts = [counted(messages, 'message'), counted(conversations, 'conversation'), counted(tasks, 'task')]
  const chain = head === null ? 'no audit chain' : `audit chain of ${head.seq} whole`
  return `${counts.join(', ')}; schema ${schema}, ${chain}`
}

function list(context: CommandContext, { to, json }: Options): void {
  const local = localDatabase(context)
  const folder = to ?? local.folder
  const found = listBackups(folder, local.database)
  if (json === true) {
    const rows = found.map(({ madeAt, ...backup }) => ({ ...backup, madeAt: new Date(madeAt).toISOString() }))
    context.print(`${JSON.stringify(rows, null, 2)}\n`)
  } else if (found.length === 0) {
    context.tell(`s2: there are no backups of ${local.database} in ${folder}\n`)
  } else {
    const now = context.clock.wall()
    const row = ({ path, madeAt, bytes, beats }: Backup): string[] => {
      return [basename(path), ago(now - madeAt), size(bytes), beats === null ? '' : 'too']
    }
    context.print(`${table(COLUMNS, found.map(row), context.screen.columns).join('\n')}\n`)
  }
}

const COLUMNS = [{ title: 'BACKUP', stretches: true }, { title: 'AGE' }, { title: 'SIZE' }, { title: 'BEATS' }]

function verify(context: CommandContext, file: string, { to, json }: Options): void {
  const path = pathOf(file, { ...localDatabase(context), ...(to === undefined ? {} : { folder: to }) })
  const proof = checkFile(path)
  context.print(
    json === true ? `${JSON.stringify({ path, ...proof }, null, 2)}\n` : `${path}\n  ${proofInWords(proof)}\n`,
  )
}

/** The path of a backup: a bare name means a file in the folder of backups. */
export function pathOf(file: string, { folder }: Pick<LocalDatabase, 'folder'>): string {
  return file.includes('/') ? file : join(folder, file)
}

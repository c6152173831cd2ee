import { existsSync } from 'node:fs'
import type { Command } from 'commander'
import type { CommandContext } from '#console/context.ts'
import { UsageError } from '#console/failure.ts'
import { commandEnv } from '#console/state-folder.ts'
import { reachFleet, storeParts } from '#console/store-access.ts'
import { table } from '#console/table.ts'
import { ago, plain } from '#console/terminal-text.ts'
import { textHead } from '#fleet/cut-text.ts'
import { isPassing, S2Error } from '#fleet/errors.ts'
import { EVERY_CHANNEL, type Incident, isEvent, unitFailed } from '#fleet/incident.ts'
import { Pauses } from '#runtime/backoff.ts'
import { openStore } from '#store/open-store.ts'
import type { Store } from '#store/store.ts'
import { databasePath } from '../local-database.ts'
import { wholeNumber } from '../option-parsers.ts'

const EXAMPLES = `
Examples:
  s2 incident list                        open ones; --all shows the closed ones too
  s2 incident show 12
  s2 incident open --unit s2-bridge       what the service manager calls when a unit has failed
  s2 incident close --unit s2-bridge
  s2 incident close silent:s2-worker-3    closes by cause; a cause that still holds opens a new one

Opening and closing writes into the database of this host, so it works without a bridge. The watchdog alerts people by
S2_ALERT_EXEC and S2_ALERT_WEBHOOK.`

interface Options {
  readonly unit?: string
  readonly summary?: string
  readonly all?: true
  readonly json?: true
}

export function define(command: Command, context: CommandContext): void {
  command.addHelpText('after', EXAMPLES)
  command
    .command('list')
    .description('list incidents')
    .option('--all', 'list closed ones too')
    .option('--json', 'print JSON')
    .action(async (options: Options) => await list(context, options))
  command
    .command('show')
    .description('show one incident')
    .argument('<id>', 'its number', wholeNumber)
    .option('--json', 'print JSON')
    .action(async (id: number, options: Options) => await show(context, id, options))
  command
    .command('open')
    .description('open an incident for a unit that has failed, unless one is open')
    .requiredOption('--unit <name>', 'the unit, such as s2-bridge')
    .option('--summary <text>', 'how it failed; by default from the environment that systemd sets')
    .option('--json', 'print JSON')
    .action(async (options: Options & { unit: string }) => await open(context, options))
  command
    .command('close [cause]')
    .description('close an open incident')
    .option('--unit <name>', 'close the incident of this unit')
    .option('--json', 'print JSON')
    .action(async (cause: string | undefined, options: Options) => await close(context, cause, options))
}

async function list(context: CommandContext, { all, json }: Options): Promise<void> {
  const found = await read(context, all !== true)
  if (json === true) {
    context.print(`${JSON.stringify(found.map(asJson), null, 2)}\n`)
  } else if (found.length === 0) {
    context.print(all === true ? 'there were no incidents\n' : 'no incident is open\n')
  } else {
    const now = context.clock.wall()
    const row = ({ id, kind, openedAt, closedAt, summary }: Incident): string[] => {
      const lasted = isEvent({ kind }) ? '-' : closedAt === null ? 'open' : ago(closedAt - openedAt)
      return [String(id), ago(now - openedAt), lasted, summary]
    }
    context.print(`${table(COLUMNS, found.map(row), context.screen.columns).join('\n')}\n`)
  }
}

const COLUMNS = [{ title: 'ID' }, { title: 'BEGAN' }, { title: 'LASTED' }, { title: 'WHAT', stretches: true }]

async function show(context: CommandContext, id: number, { json }: Options): Promise<void> {
  const found = (await read(context, false)).find((each) => each.id === id)
  if (found === undefined) {
    throw new S2Error('not_found', `there is no incident ${id}`, {
      next: '`s2 incident list --all` shows all incidents',
    })
  }
  const fields = asJson(found)
  if (json === true) context.print(`${JSON.stringify(fields, null, 2)}\n`)
  else
    for (const [name, value] of Object.entries(fields))
      context.print(`${name.padEnd(9)} ${plain(String(value ?? ''))}\n`)
}

async function read(context: CommandContext, isOpen: boolean): Promise<Incident[]> {
  await using reached = await reachFleet(context)
  return await reached.store.incidents({ open: isOpen })
}

function asJson({ openedAt, closedAt, ...incident }: Incident): Readonly<Record<string, unknown>> {
  const opened = new Date(openedAt).toISOString()
  return { ...incident, openedAt: opened, closedAt: closedAt === null ? null : new Date(closedAt).toISOString() }
}

async function open(context: CommandContext, { unit, summary, json }: Options & { unit: string }): Promise<void> {
  const incident = unitFailed(nameOf(unit), summary ?? howInWords(context.env))
  const isNew = await patiently(context, async () => {
    await using store = await openLocal(context)
    return await store.openIncident(incident, [EVERY_CHANNEL])
  })
  if (json === true) context.print(`${JSON.stringify({ cause: incident.cause, opened: isNew })}\n`)
  else context.print(`${isNew ? 'opened' : 'open already'}: ${incident.summary}\n`)
}

async function close(context: CommandContext, named: string | undefined, { unit, json }: Options): Promise<void> {
  if ((named === undefined) === (unit === undefined)) {
    throw new UsageError('missing a cause or --unit', 'name the cause of the incident, or the unit that failed')
  }
  const cause = named ?? unitFailed(nameOf(unit ?? ''), '').cause
  const wasOpen = await patiently(context, async () => {
    await using store = await openLocal(context)
    if (named !== undefined) await demandCause(cause, store)
    return await store.closeIncident(cause, [EVERY_CHANNEL], `${cause} was closed by hand`)
  })
  if (json === true) context.print(`${JSON.stringify({ cause, closed: wasOpen })}\n`)
  else context.print(`${wasOpen ? 'closed' : 'was not open'}: ${cause}\n`)
}

/** Refuses a cause that no incident ever had: nothing would be closed because of a slip of the pen. */
async function demandCause(cause: string, store: Store): Promise<void> {
  const incidents = await store.incidents({ open: false })
  if (incidents.some((each) => each.cause === cause)) return
  const open = incidents.filter(({ closedAt }) => closedAt === null).map((each) => each.cause)
  throw new S2Error('not_found', `there is no incident ${JSON.stringify(textHead(cause, 80))}`, {
    next: open.length === 0 ? 'none is open' : `open are ${open.slice(0, NAMED_MAX).join(', ')}`,
  })
}

/** How many causes a refusal names. */
const NAMED_MAX = 20

/** Retries what passes, such as a lock or a stalled disk: the service manager calls once and does not call again. */
async function patiently<T>({ clock, chance }: CommandContext, act: () => Promise<T>): Promise<T> {
  const began = clock.now()
  const pauses = new Pauses(AGAIN, chance)
  for (;;) {
    try {
      return await act()
    } catch (error) {
      if (!isPassing(error) || clock.now() - began > PATIENCE_MS) throw error
    }
    await pauses.wait(clock)
  }
}

const PATIENCE_MS = 60_000
const AGAIN = { firstMs: 500, mostMs: 5_000, leastMs: 500 }

/**
 * Opens the database itself and does not ask the bridge, which may be what failed. Only the settings that name the database
 * are read, because a wrong setting may be why it failed.
 */
async function openLocal(context: CommandContext): Promise<Store> {
  const { S2_STATE, S2_STORE } = commandEnv(context)
  const database = databasePath({
    ...(S2_STATE === undefined ? {} : { S2_STATE }),
    ...(S2_STORE === undefined ? {} : { S2_STORE }),
  })
  if (existsSync(database)) return await openStore(`sqlite:${database}`, storeParts(context))
  throw new S2Error('not_found', `no incident can be kept here: there is no database ${database}`, {
    next: 'on a worker host look at the unit itself: systemctl --failed, journalctl -u UNIT',
  })
}

function nameOf(unit: string): string {
  if (!/^[\w@:.-]{1,200}$/.test(unit)) throw new UsageError(`${JSON.stringify(unit)} is not the name of a unit`)
  return unit.replace(/\.service$/, '')
}

/** How a unit failed, from the environment that systemd (251 and later) gives its OnFailure= unit, systemd.exec(5). */
function howInWords(env: CommandContext['env']): string {
  const { MONITOR_SERVICE_RESULT: result = '', MONITOR_EXIT_CODE: code, MONITOR_EXIT_STATUS: status = '' } = env
  if (code === 'exited' && status === '78') return 'its settings are wrong (exit code 78)'
  const how = code === 'exited' ? `exit code ${status}` : code === undefined ? '' : `${code} by ${status}`
  const why = result === '' || result === 'exit-code' || result === 'signal' ? '' : result
  return [why, how].filter((each) => each !== '').join(', ')
}

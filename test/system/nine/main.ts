/**
 * The story of nine machines, told in a world of its own (see nine.sh): main.ts WORK [--json FILE] [--part PART], where
 * only one of its parts is wanted: story or drills. Ends with `N passed, N failed`; the world ends with it.
 */
import { cpSync, mkdtempSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { Telling } from '../../rehearse/telling.ts'
import { playDrills } from './drills.ts'
import { Fleet } from './fleet.ts'
import { gather, play } from './story.ts'
import { Table } from './table.ts'

const { positionals, values } = parseArgs({
  allowPositionals: true,
  options: { json: { type: 'string' }, part: { type: 'string' } },
})
const [work] = positionals
if (work === undefined) throw new Error('usage: nine.sh [--json FILE] [--part story|drills]')
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => process.exit(1))

const telling = new Telling()
const table = new Table()
try {
  const fleet = new Fleet(work)
  await using store = await gather(fleet, telling, table)
  if (values.part !== 'drills') await play(fleet, store, telling, table)
  if (values.part !== 'story') await playDrills(fleet, store, telling, table)
} catch (error) {
  telling.check('the story comes to its end', false, (error as Error).stack ?? String(error))
}
table.print()
if (values.json !== undefined) table.save(values.json)
if (telling.failed > 0) {
  const kept = mkdtempSync(join(tmpdir(), 's2-nine-logs-'))
  cpSync(join(work, 'logs'), kept, { recursive: true })
  console.log(`\nwhat the programs said is left in ${kept}`)
}
telling.end()
// Programs still run on the machines: the world ends with this process, and they with it.
process.exit(telling.failed > 0 ? 1 : 0)

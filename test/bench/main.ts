/**
 * Measures the fleet and what else there is for its work, in turn and in one run. Prints progress on standard error, a
 * table and JSON on standard output.
 */
import { writeFileSync } from 'node:fs'
import { readOptions } from '../options.ts'
import { beats } from './beats.ts'
import { delivery } from './delivery.ts'
import { hooks } from './hooks.ts'
import { describe } from './machine.ts'
import { mcp } from './mcp.ts'
import { memory } from './memory.ts'
import { push } from './push.ts'
import { reads } from './reads.ts'
import { redaction } from './redaction.ts'
import { type Bench, isMet, type Row, type Skipped } from './row.ts'
import { sends } from './sends.ts'
import { openStage } from './stage.ts'
import { tableText } from './table.ts'
import { verdict } from './verdict.ts'
import { wakes } from './wakes.ts'

const BENCHES: Readonly<Record<string, Bench>> = {
  push,
  delivery,
  sends,
  beats,
  verdict,
  memory,
  mcp,
  hooks,
  wakes,
  reads,
  redaction,
}

const HELP = `usage: make bench [BENCH='--only push --quick']      or: node test/bench/main.ts [options]

  --only WORD    only what has the word in its name, of: ${Object.keys(BENCHES).join(', ')}; may be said twice
  --quick        fewer rounds: to see that all works, not to quote
  --json FILE    the figures as JSON into a file, or - for standard output; without it, after the table
  --help         this text

All of it takes half an hour, push alone twenty minutes of it (--quick: two), and wants the machine for itself. What stands
beside ours is measured where it is installed: a C compiler, inotify-tools, python3, nats-server, etcd-server.
`

const values = readOptions(HELP, {
  json: { type: 'string' },
  quick: { type: 'boolean', default: false },
  only: { type: 'string', multiple: true, default: [] },
})

const wanted = Object.entries(BENCHES).filter(
  ([name]) => values.only.length === 0 || values.only.some((word) => name.includes(word)),
)
if (wanted.length === 0) {
  console.error(`nothing is called so; there are ${Object.keys(BENCHES).join(', ')}`)
  process.exit(64)
}

const machine = await (async () => {
  await using stage = await openStage()
  return describe(stage.folder)
})()

const rows: (Row | Skipped)[] = []
for (const [name, bench] of wanted) {
  const say = (line: string): void => console.error(`${name}: ${line}`)
  try {
    rows.push(...(await bench({ isQuick: values.quick, say })))
  } catch (error) {
    console.error(error)
    rows.push({ what: name, skipped: `it failed: ${error instanceof Error ? error.message : String(error)}` })
    process.exitCode = 1
  }
}

const json = `${JSON.stringify(
  { machine, quick: values.quick, rows: rows.map((row) => ('skipped' in row ? row : { ...row, met: isMet(row) })) },
  null,
  2,
)}\n`
const table = `${tableText(machine, rows)}\n`
if (values.json === '-') {
  process.stderr.write(table)
  process.stdout.write(json)
} else {
  process.stdout.write(table)
  if (values.json === undefined) process.stdout.write(`\n${json}`)
  else writeFileSync(values.json, json)
}

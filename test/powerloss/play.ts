/** Plays a scenario below RECORD_ROOT, and tells what its program was answered. Arguments: the module that exports it, its name. */
import { appendFileSync } from 'node:fs'
import { join } from 'node:path'
import { TOLD } from './journal.ts'
import type { AnyScenario } from './scenario.ts'

const [module = '', name] = process.argv.slice(2)
const { RECORD_ROOT: root } = process.env
if (root === undefined) throw new Error('RECORD_ROOT names no folder: its files would be left in this one')
const told = join(root, TOLD)
// Only this one is loaded: some scenarios are played a hundred times.
const exported = Object.values((await import(module)) as Record<string, AnyScenario>)
const scenario = exported.find((each) => each.name === name)
if (scenario === undefined) throw new Error(`${module} exports no scenario ${name}`)
await scenario.play(root, (word) => appendFileSync(told, `${JSON.stringify(word)}\n`))

/** Plays the scenario that is named in its argument, below RECORD_ROOT, and tells what it was answered. */
import { appendFileSync } from 'node:fs'
import { join } from 'node:path'
import { TOLD } from './journal.ts'
import { scenarioOf } from './scenarios/all.ts'

const root = process.env.RECORD_ROOT ?? ''
const told = join(root, TOLD)
await scenarioOf(process.argv[2] ?? '').play(root, (word) => appendFileSync(told, `${JSON.stringify(word)}\n`))

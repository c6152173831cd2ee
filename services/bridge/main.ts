import { run } from '#runtime/run.ts'
import { program } from './bridge.ts'

await run(program)

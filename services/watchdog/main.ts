import { run } from '#runtime/run.ts'
import { program } from './watchdog.ts'

await run(program)

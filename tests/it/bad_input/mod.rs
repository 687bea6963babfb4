//! Bad input as a user meets it: each ends with a message that names the thing and the way out and with an exit code that is
//! not 0, and once the cause is mended the counts are right. What can mend itself does, and says so.

mod damage;
mod place;
mod program;

from missions.entry import main

main()
